//! What every allocation of one device belongs to.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::replay::{AllocationId, DeviceReplay, NEVER};
use crate::snapshot::{Action, DeviceId, Snapshot, StringId, Trace};

use super::category::{Category, Circumstances};
use super::compiled::CompiledLayers;
use super::evidence::Evidence;
use super::forward_trace::layers_of_forward_frames;
use super::layer::{LayerId, Layers};
use super::metadata::{MetadataCache, is_module_path};
use super::module_calls::{AllocationCalls, infer_backward_layers};
use super::module_names::ModuleNames;
use super::phase::{EventPhases, Phase, PhaseSpan};
use super::ranges::Ranges;
use super::stack_facts::StackFactsTable;
use super::steps::Steps;

/// No step.
const NO_STEP: u32 = u32::MAX;

/// Where the evidence of the layer is in the phase column.
const LAYER_EVIDENCE: u32 = 4;
/// Where the phase column says whether the phase is recorded.
const PHASE_IS_RECORDED: u32 = 6;

/// What every allocation of one device belongs to, as columns: ten bytes per allocation.
#[derive(Clone, Debug, Default)]
pub struct DeviceAttribution {
    /// The device.
    pub device: DeviceId,
    /// Its steps.
    pub steps: Steps,
    /// Its phases in order; events between two spans belong to none.
    pub phases: Vec<PhaseSpan>,
    layer: Vec<LayerId>,
    /// Position in `steps`, or [`NO_STEP`].
    step: Vec<u32>,
    /// Category in the low four bits, its evidence above.
    category: Vec<u8>,
    /// Phase in the low four bits, the evidence of the layer in the next two, then whether the
    /// phase is recorded.
    phase: Vec<u8>,
    annotations: HashMap<u32, StringId, FixedState>,
    ranges: Ranges,
}

impl DeviceAttribution {
    pub(crate) fn new(
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        facts: &StackFactsTable,
        layers: &mut Layers,
        compiled: &mut CompiledLayers<'_>,
        metadata: &mut MetadataCache,
    ) -> Self {
        let none = Trace {
            device: replay.device,
            ..Trace::default()
        };
        let trace = snapshot.trace(replay.device).unwrap_or(&none);
        let phases = EventPhases::new(snapshot, trace, replay, facts, metadata);
        let steps = Steps::new(snapshot, trace, replay, facts, &phases, metadata);
        let annotations = annotations(trace, replay);
        let mut calls = AllocationCalls::new(trace, replay, facts, &phases, layers);
        infer_backward_layers(trace, replay, facts, &phases, layers, &mut calls);
        layers_of_forward_frames(snapshot, trace, replay, facts, layers, &mut calls);
        let categories = Circumstances {
            snapshot,
            trace: snapshot.trace(replay.device),
            replay,
            facts,
            phases: &phases,
            calls: &calls,
            annotations: &annotations,
        }
        .categories(metadata);
        let rows = replay.allocations.len();
        let mut out = Self {
            device: replay.device,
            layer: calls.layer,
            step: Vec::with_capacity(rows),
            category: categories
                .into_iter()
                .map(|(category, evidence)| category as u8 | ((evidence as u8) << 4))
                .collect(),
            phase: Vec::with_capacity(rows),
            steps,
            phases: Vec::new(),
            annotations,
            ranges: Ranges::new(snapshot, replay.device),
        };
        for id in replay.allocations.ids() {
            let event = replay.allocations.get(id).alloc_event();
            let phase = event.map_or(Phase::Unknown, |event| phases.at(event));
            let step = event.and_then(|event| out.steps.at(event));
            out.step.push(
                step.and_then(|step| u32::try_from(step).ok())
                    .unwrap_or(NO_STEP),
            );
            let mut layer = out.layer.get(id.index()).copied().unwrap_or_default();
            if let Some(event) = event {
                let stack = trace.events.stack(event as usize);
                layer = compiled.traced(layers, stack, layer);
            }
            let recorded = recorded_layer(
                snapshot,
                trace,
                id,
                event,
                &out.annotations,
                layers,
                metadata,
            );
            let evidence = if let Some(recorded) = recorded {
                layer = recorded;
                Evidence::Recorded
            } else if layer != LayerId::UNKNOWN {
                Evidence::Inferred
            } else if let Some(region) =
                event.and_then(|event| compiled.region(layers, trace, event))
            {
                layer = region;
                Evidence::Recorded
            } else {
                Evidence::Unknown
            };
            if let Some(to) = out.layer.get_mut(id.index()) {
                *to = layer;
            }
            let phase_is_recorded = event.is_some_and(|event| {
                let text = trace.events.user_metadata(event as usize);
                let named = metadata.get(&snapshot.strings, text);
                named.is_some_and(|named| named.phase.is_some())
            });
            out.phase.push(
                phase as u8
                    | ((evidence as u8) << LAYER_EVIDENCE)
                    | (u8::from(phase_is_recorded) << PHASE_IS_RECORDED),
            );
        }
        out.phases = phases.spans;
        out.layer_optimizer_states(replay);
        out
    }

    /// Gives optimizer state the layers of the parameters it belongs to.
    ///
    /// Optimizers make their state in the order of the parameters. If the sizes of the states one
    /// run of the optimizer made are those of the parameters in order, each as many times (twice
    /// for Adam), the states belong to the parameters in that order.
    fn layer_optimizer_states(&mut self, replay: &DeviceReplay) {
        let size = |id: AllocationId| replay.allocations.requested().get(id.index()).copied();
        let of = |device: &Self, wanted: Category, from: u32, to: u32| -> Vec<AllocationId> {
            let ids = replay.allocations.ids();
            ids.filter(|id| {
                let event = replay.allocations.get(*id).alloc_event();
                event.is_some_and(|event| from <= event && event < to)
                    && device.category(*id).0 == wanted
            })
            .collect()
        };
        let first_state = replay.allocations.ids().find_map(|id| {
            let is_state = self.category(id).0 == Category::OptimizerState;
            replay
                .allocations
                .get(id)
                .alloc_event()
                .filter(|_| is_state)
        });
        let span = first_state.and_then(|event| {
            let after = self.phases.partition_point(|span| span.start <= event);
            self.phases.get(after.checked_sub(1)?).copied()
        });
        let Some(first) = span.filter(|span| span.phase == Phase::Optimizer) else {
            return;
        };
        let parameters = of(self, Category::Parameter, 0, first.start);
        let states = of(self, Category::OptimizerState, first.start, first.end);
        let each = states.len() / parameters.len().max(1);
        let in_order = each > 0
            && each * parameters.len() == states.len()
            && states
                .chunks(each)
                .zip(&parameters)
                .all(|(states, parameter)| states.iter().all(|s| size(*s) == size(*parameter)));
        if !in_order {
            return;
        }
        for (states, parameter) in states.chunks(each).zip(&parameters) {
            let (layer, _) = self.layer(*parameter);
            if layer == LayerId::UNKNOWN {
                continue;
            }
            for state in states {
                if let (LayerId::UNKNOWN, _) = self.layer(*state)
                    && let (Some(to), Some(packed)) = (
                        self.layer.get_mut(state.index()),
                        self.phase.get_mut(state.index()),
                    )
                {
                    *to = layer;
                    *packed &= !(0b11 << LAYER_EVIDENCE);
                    *packed |= (Evidence::Inferred as u8) << LAYER_EVIDENCE;
                }
            }
        }
    }

    /// The layer the allocation belongs to, and how that is known.
    #[must_use]
    pub fn layer(&self, id: AllocationId) -> (LayerId, Evidence) {
        let layer = self.layer.get(id.index()).copied().unwrap_or_default();
        let packed = self.phase.get(id.index()).copied();
        (
            layer,
            packed.map_or(Evidence::Unknown, |packed| {
                evidence_of((packed >> LAYER_EVIDENCE) & 0b11)
            }),
        )
    }

    /// Gives the inferred layers in `names` the layer they are known by.
    pub(crate) fn rename_layers(&mut self, layers: &Layers, names: &ModuleNames) {
        for (row, layer) in self.layer.iter_mut().enumerate() {
            let packed = self.phase.get(row).copied().unwrap_or(0);
            if evidence_of((packed >> LAYER_EVIDENCE) & 0b11) == Evidence::Inferred {
                *layer = names.of(layers, *layer);
            }
        }
    }

    /// What the allocation is for, and how that is known.
    #[must_use]
    pub fn category(&self, id: AllocationId) -> (Category, Evidence) {
        let Some(&packed) = self.category.get(id.index()) else {
            return (Category::Unknown, Evidence::Unknown);
        };
        let category = Category::ALL
            .into_iter()
            .find(|category| *category as u8 == packed & 0x0f)
            .unwrap_or_default();
        (category, evidence_of(packed >> 4))
    }

    /// The phase the allocation was made in.
    #[must_use]
    pub fn phase(&self, id: AllocationId) -> Phase {
        let packed = self.phase.get(id.index()).copied().unwrap_or(0);
        Phase::ALL
            .into_iter()
            .find(|phase| *phase as u8 == packed & 0x0f)
            .unwrap_or_default()
    }

    /// How [`Self::phase`] is known: recorded if metadata names it.
    #[must_use]
    pub fn phase_evidence(&self, id: AllocationId) -> Evidence {
        let packed = self.phase.get(id.index()).copied().unwrap_or(0);
        if self.phase(id) == Phase::Unknown {
            Evidence::Unknown
        } else if (packed >> PHASE_IS_RECORDED) & 1 == 1 {
            Evidence::Recorded
        } else {
            Evidence::Inferred
        }
    }

    /// The name of the innermost `record_function` range around `time_us`, by the ranges of this
    /// device. None outside of all ranges, or if the time is not known.
    #[must_use]
    pub fn range_at(&self, time_us: i64) -> Option<StringId> {
        self.ranges.at(time_us)
    }

    /// The step the allocation was made in, as a position in [`Self::steps`].
    #[must_use]
    pub fn step(&self, id: AllocationId) -> Option<usize> {
        let step = self.step.get(id.index()).copied()?;
        (step != NO_STEP).then_some(step as usize)
    }

    /// The text of the allocation's last annotation (`annotate` event), if it has one.
    #[must_use]
    pub fn annotation(&self, id: AllocationId) -> Option<StringId> {
        self.annotations.get(&id.0).copied()
    }

    /// How many allocations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.category.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.category.is_empty()
    }
}

fn evidence_of(number: u8) -> Evidence {
    match number {
        0 => Evidence::Recorded,
        1 => Evidence::Inferred,
        _ => Evidence::Unknown,
    }
}

/// The layer that metadata names, or an annotation: as JSON, or as the dotted name of a tensor
/// (`blocks.0.attn.in_proj_weight` belongs to `blocks.0.attn`).
fn recorded_layer(
    snapshot: &Snapshot,
    trace: &Trace,
    id: AllocationId,
    event: Option<u32>,
    annotations: &HashMap<u32, StringId, FixedState>,
    layers: &mut Layers,
    metadata: &mut MetadataCache,
) -> Option<LayerId> {
    if let Some(&text) = annotations.get(&id.0) {
        let name = snapshot.strings.get(text);
        let module = match name.rsplit_once('.') {
            Some((module, _)) if is_module_path(name) => Some(module),
            _ => metadata
                .get(&snapshot.strings, text)
                .filter(|_| name.contains(['{', '=']))
                .and_then(|metadata| metadata.module.as_deref()),
        };
        if let Some(module) = module {
            return Some(layers.intern_recorded(module)).filter(|id| *id != LayerId::UNKNOWN);
        }
    }
    let text = trace.events.user_metadata(event? as usize);
    let module = metadata.get(&snapshot.strings, text)?.module.as_deref()?;
    Some(layers.intern_recorded(module)).filter(|id| *id != LayerId::UNKNOWN)
}

/// The last annotation of each annotated allocation, by row. An `annotate` event names a live
/// allocation by its address.
fn annotations(trace: &Trace, replay: &DeviceReplay) -> HashMap<u32, StringId, FixedState> {
    let mut wanted: Vec<(u64, u32, StringId)> = Vec::new();
    for (row, &action) in trace.events.actions().iter().enumerate() {
        if action == Action::Annotate {
            let text = trace.events.user_metadata(row);
            wanted.push((trace.events.address(row), row as u32, text));
        }
    }
    let mut out = HashMap::default();
    if wanted.is_empty() {
        return out;
    }
    wanted.sort_unstable();
    for id in replay.allocations.ids() {
        let allocation = replay.allocations.get(id);
        let from = wanted.partition_point(|&(address, row, _)| {
            (address, row) < (allocation.address, allocation.born)
        });
        let mine = wanted
            .iter()
            .skip(from)
            .take_while(|(address, row, _)| {
                *address == allocation.address
                    && (allocation.died == NEVER || *row < allocation.died)
            })
            .last();
        if let Some((_, _, text)) = mine {
            out.insert(id.0, *text);
        }
    }
    out
}
