//! What a snapshot file says, as columns and interned tables.
//!
//! A reader fills a [`Snapshot`]; everything after it only reads one. Nothing here is computed:
//! lifetimes, curves and meanings are for the modules after this one.

mod annotations;
mod column;
mod context;
mod events;
mod format;
mod frames;
mod ids;
mod segments;
mod settings;
mod stacks;
mod streams;
mod strings;
mod warnings;
mod watch;

pub use annotations::{Annotation, Stage};
pub use column::SparseColumn;
pub use context::{
    Batch, FailedInputs, Outcome, Pass, RunContext, RunDevice, RunFacts, RunFailure, RunPlace,
};
pub use events::{Action, Event, Events, NO_TIME, Trace};
pub use format::FormatFeatures;
pub use frames::{Frame, FrameTable, FxNode};
pub use ids::{DeviceId, FrameId, PoolId, StackId, StreamId, StringId};
pub use segments::{Block, BlockState, Segment, SegmentKind, Segments};
pub use settings::AllocatorSettings;
pub use stacks::{StackNode, StackTable};
pub use streams::{PoolTable, StreamTable};
pub use strings::StringTable;
pub use warnings::{Warning, WarningKind, Warnings};
pub use watch::{CounterLook, DeviceLook, DeviceWatch, OtherProcess};

/// A whole snapshot file.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every distinct string.
    pub strings: StringTable,
    /// Every distinct frame.
    pub frames: FrameTable,
    /// Every distinct stack.
    pub stacks: StackTable,
    /// Every stream named.
    pub streams: StreamTable,
    /// Every memory pool named.
    pub pools: PoolTable,
    /// Recorded history: one per element of `device_traces`, in order, then `host_traces` if it
    /// has events.
    pub traces: Vec<Trace>,
    /// The final state of all devices, and of pinned host memory.
    pub segments: Segments,
    /// `record_function` ranges in file order.
    pub annotations: Vec<Annotation>,
    /// Allocator settings, if recorded.
    pub settings: Option<AllocatorSettings>,
    /// Which keys were met.
    pub features: FormatFeatures,
    /// What the reader noticed.
    pub warnings: Warnings,
    /// What a recorder saw of the devices from outside PyTorch.
    pub watches: Vec<DeviceWatch>,
    /// What a recorder told of the run, if one did.
    pub context: Option<Box<RunContext>>,
}

impl Snapshot {
    /// The most devices that are analysed. PyTorch numbers devices with eight bits
    /// (`c10/core/Device.h`, `DeviceIndex`), so only a made-up file has more; without a limit
    /// each of its devices would cost a look at all segments, and a part of every report.
    pub const MAX_DEVICES: usize = 256;

    /// Every device that has a trace or a segment, ascending; pinned host memory (−1) first.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceId> {
        let traces = self.traces.iter().map(|trace| trace.device);
        let segments = self.segments.all().iter().map(|segment| segment.device);
        let all: std::collections::BTreeSet<DeviceId> = traces.chain(segments).collect();
        all.into_iter().collect()
    }

    /// What was seen of `device` from outside PyTorch, if anything.
    #[must_use]
    pub fn watch(&self, device: DeviceId) -> Option<&DeviceWatch> {
        self.watches.iter().find(|watch| watch.device == device)
    }

    /// The recorded history of `device`, if the file has one (it may be empty).
    #[must_use]
    pub fn trace(&self, device: DeviceId) -> Option<&Trace> {
        self.traces.iter().find(|trace| trace.device == device)
    }
}
