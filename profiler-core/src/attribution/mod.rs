//! Who holds the memory: cleaned stacks, layers, categories, phases and steps.
//!
//! [`Attribution::new`] works out, for every allocation, what it belongs to. Whatever the file
//! says itself (metadata, annotations, recorded categories) is taken as it is; the rest is
//! inferred from stacks, phases and lifetimes, and every result says which of the two it is
//! ([`Evidence`]). [`Attribution::breakdown`] then groups the allocations of any moment, the peak
//! for one, with sums that are exact whatever the groups are called.

mod breakdown;
mod category;
mod clean_stack;
mod compiled;
mod device;
mod evidence;
mod flame;
mod forward_trace;
mod frame_class;
mod frame_label;
mod kept_memory;
mod layer;
mod metadata;
mod module_calls;
mod module_names;
mod native_name;
mod natural_order;
mod phase;
mod ranges;
mod repetition;
mod size_bucket;
mod stack_facts;
mod step_cycle;
mod steps;
mod traceback;

pub use breakdown::{Breakdown, By, Group, Sums};
pub use category::Category;
pub use clean_stack::{CleanFrame, CleanStackId, CleanStacks};
pub use device::DeviceAttribution;
pub use evidence::Evidence;
pub use flame::{FlameGraph, FlameNode};
pub use frame_class::{Fold, FrameOrigin};
pub use frame_label::{file_label, frame_label, function_label};
pub use layer::{LayerId, Layers};
pub use metadata::Metadata;
pub use native_name::short_native_name;
pub use phase::{Phase, PhaseSpan};
pub use steps::{Step, Steps};

use crate::replay::Replay;
use crate::snapshot::{DeviceId, Snapshot};

/// What every allocation of a snapshot belongs to.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// Stacks cleaned for people.
    pub clean: CleanStacks,
    /// Every layer told.
    pub layers: Layers,
    /// One per device of the replay, in its order.
    pub devices: Vec<DeviceAttribution>,
}

impl Attribution {
    /// Only the cleaned stacks of `snapshot`: a small part of the work of [`Self::new`], and the
    /// same stack numbers. Nothing is known of any allocation.
    #[must_use]
    pub fn of_stacks(snapshot: &Snapshot) -> Self {
        let classes = frame_class::classify_frames(snapshot);
        Self {
            clean: CleanStacks::new(snapshot, &classes),
            ..Self::default()
        }
    }

    /// Attributes every allocation of `replay`, which must be of `snapshot`.
    #[must_use]
    pub fn new(snapshot: &Snapshot, replay: &Replay) -> Self {
        let classes = frame_class::classify_frames(snapshot);
        let facts = stack_facts::StackFactsTable::new(snapshot, &classes);
        let mut layers = Layers::default();
        let mut metadata = metadata::MetadataCache::default();
        let mut compiled = compiled::CompiledLayers::new(snapshot);
        let mut devices: Vec<DeviceAttribution> = replay
            .devices
            .iter()
            .map(|device| {
                DeviceAttribution::new(
                    snapshot,
                    device,
                    &facts,
                    &mut layers,
                    &mut compiled,
                    &mut metadata,
                )
            })
            .collect();
        let names = module_names::ModuleNames::new(snapshot, &facts, &mut layers);
        for device in &mut devices {
            device.rename_layers(&layers, &names);
        }
        layers.name_inferred(snapshot, &facts);
        Self {
            clean: CleanStacks::new(snapshot, &classes),
            layers,
            devices,
        }
    }

    /// What the allocations of `device` belong to.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<&DeviceAttribution> {
        self.devices.iter().find(|known| known.device == device)
    }
}
