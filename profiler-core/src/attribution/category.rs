//! What memory is for: parameter, gradient, optimizer state, activation, input, temporary,
//! workspace.
//!
//! What the file says comes first: the `category` of `profile_plot` snapshots, `category` in JSON
//! metadata. Everything else is inferred from the stack of the allocation, the phase it was made
//! in and how long it lived:
//!
//! | made in | and | is |
//! |---|---|---|
//! | any phase | a cuBLAS or cuDNN buffer by its C++ frames, or of cuBLAS's size and kept for good | workspace |
//! | setup | kept past it | parameter (buffers count as such) |
//! | data | still there in the forward, or loaded by a data loader | input |
//! | forward | alive when its backward starts; without one, outlives the module call | activation |
//! | backward | stored into a leaf, or kept past the backward | gradient |
//! | backward, recomputing a forward | outlives the module call | activation |
//! | optimizer | kept past the optimizer step | optimizer state |
//! | forward, backward, optimizer, setup | dies earlier | temporary |
//!
//! A phase that an OOM cuts off tells nothing of what it kept: unknown, unless the stack says it.
//! What an optimizer makes in place of a parameter it lets go is a parameter.
//!
//! Memory from before the recording has no phase. It is called parameter where, for its size,
//! there are as many such allocations kept for good as gradients of one backward; else it stays
//! unknown.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::replay::{Allocation, DeviceReplay, NEVER};
use crate::snapshot::{Action, Snapshot, StackId, StringId, Trace};

use super::evidence::Evidence;
use super::metadata::MetadataCache;
use super::module_calls::AllocationCalls;
use super::phase::{EventPhases, Phase, PhaseSpan};
use super::stack_facts::{Role, StackFacts, StackFactsTable};

/// What an allocation is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Category {
    /// Could not be told.
    #[default]
    Unknown,
    /// A parameter or buffer of a module.
    Parameter,
    /// A gradient kept past its backward.
    Gradient,
    /// State of an optimizer.
    OptimizerState,
    /// Made by the forward and needed after the module that made it.
    Activation,
    /// Input data.
    Input,
    /// Dies in the phase that made it.
    Temporary,
    /// A scratch buffer of a library.
    Workspace,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 8] = [
        Self::Parameter,
        Self::Gradient,
        Self::OptimizerState,
        Self::Activation,
        Self::Input,
        Self::Temporary,
        Self::Workspace,
        Self::Unknown,
    ];

    /// `parameter`, `optimizer_state`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Parameter => "parameter",
            Self::Gradient => "gradient",
            Self::OptimizerState => "optimizer_state",
            Self::Activation => "activation",
            Self::Input => "input",
            Self::Temporary => "temporary",
            Self::Workspace => "workspace",
        }
    }

    /// The category called `name`, in any case. `autograd_detail` of `torch.profiler` is memory
    /// that autograd needs for a moment: temporary. None for `unknown` and other words.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "parameter" | "param" | "parameters" | "buffer" => Some(Self::Parameter),
            "gradient" | "grad" | "gradients" => Some(Self::Gradient),
            "optimizer_state" | "optimizer" | "opt" => Some(Self::OptimizerState),
            "activation" | "act" | "activations" => Some(Self::Activation),
            "input" | "inputs" => Some(Self::Input),
            "temporary" | "temp" | "autograd_detail" => Some(Self::Temporary),
            "workspace" => Some(Self::Workspace),
            _ => None,
        }
    }
}

/// A category and how it is known.
pub(crate) type Told = (Category, Evidence);

/// What is worked out once for all allocations of a device.
struct Evidences {
    /// By phase span: whether what outlives it is mostly never freed.
    keeps_gradients: Vec<bool>,
    parameter_sizes: HashSet<u64, FixedState>,
    /// An allocation failed in the last phase.
    ends_in_oom: bool,
}

pub(crate) const UNKNOWN: Told = (Category::Unknown, Evidence::Unknown);

pub(crate) const fn inferred(category: Category) -> Told {
    (category, Evidence::Inferred)
}

/// The sizes of cuBLAS's and cuBLASLt's default workspaces: `parseChosenWorkspaceSize` and
/// `_parseChosenWorkspaceSize` of `aten/src/ATen/cuda/CublasHandlePool.cpp` and
/// `aten/src/ATen/cuda/CUDABlas.cpp`: 4096 KiB × 2 + 16 KiB × 8, 4096 KiB × 8 on Hopper.
const BLAS_WORKSPACE_BYTES: [u64; 2] = [8_519_680, 33_554_432];

/// Everything the inference looks at.
pub(crate) struct Circumstances<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) trace: Option<&'a Trace>,
    pub(crate) replay: &'a DeviceReplay,
    pub(crate) facts: &'a StackFactsTable,
    pub(crate) phases: &'a EventPhases,
    pub(crate) calls: &'a AllocationCalls,
    /// Text of the annotation of each annotated allocation, by row.
    pub(crate) annotations: &'a HashMap<u32, StringId, FixedState>,
}

impl Circumstances<'_> {
    /// The category of every allocation, by row.
    pub(crate) fn categories(&self, metadata: &mut MetadataCache) -> Vec<Told> {
        let evidence = Evidences {
            keeps_gradients: self.mostly_persistent_backwards(),
            parameter_sizes: self.parameter_sizes(),
            ends_in_oom: self.ends_in_oom(),
        };
        let mut told: Vec<Told> = self
            .replay
            .allocations
            .ids()
            .map(|id| {
                let allocation = self.replay.allocations.get(id);
                self.recorded(id.0, &allocation, metadata)
                    .unwrap_or_else(|| self.infer(id.0, &allocation, &evidence))
            })
            .collect();
        let parameter_sizes = self.match_parameters(&mut told);
        self.follow_replacements(&mut told, &parameter_sizes);
        told
    }

    fn ends_in_oom(&self) -> bool {
        let last = self
            .phases
            .spans
            .last()
            .map_or(0, |span| span.start as usize);
        self.trace.is_some_and(|trace| {
            let actions = trace.events.actions();
            actions
                .iter()
                .skip(last)
                .any(|action| *action == Action::Oom)
        })
    }

    fn recorded(
        &self,
        row: u32,
        allocation: &Allocation,
        cache: &mut MetadataCache,
    ) -> Option<Told> {
        let strings = &self.snapshot.strings;
        let annotated = self.annotations.get(&row).copied();
        if let Some(text) = annotated
            && let Some(category) = cache.get(strings, text).and_then(|m| m.category)
        {
            return Some((category, Evidence::Recorded));
        }
        let event = allocation.alloc_event()? as usize;
        let events = &self.trace?.events;
        let category = Category::from_name(strings.get(events.category(event))).or_else(|| {
            cache
                .get(strings, events.user_metadata(event))
                .and_then(|m| m.category)
        })?;
        Some((category, Evidence::Recorded))
    }

    fn infer(&self, row: u32, allocation: &Allocation, known: &Evidences) -> Told {
        let facts = self.facts.get(allocation.stack);
        if facts.is_workspace() {
            return inferred(Category::Workspace);
        }
        let Some(event) = allocation.alloc_event() else {
            return self.infer_from_stack(row, facts, allocation.stack);
        };
        let phase = self.phases.at(event);
        let span = self
            .phases
            .span_index(event)
            .and_then(|index| Some((index, *self.phases.spans.get(index)?)))
            .filter(|(_, span)| span.phase == phase && event < span.end);
        let Some((index, span)) = span else {
            return UNKNOWN;
        };
        let freed = allocation
            .free_requested
            .checked_sub(1)
            .filter(|_| allocation.free_requested != NEVER);
        let outlives = freed.is_none_or(|freed| freed >= span.end);
        // An OOM ended the recording in this phase: how long it would have lived is not known.
        let is_cut_off =
            freed.is_none() && index + 1 == self.phases.spans.len() && known.ends_in_oom;
        if self.is_kept_workspace(allocation, phase, index, &known.keeps_gradients) {
            return inferred(Category::Workspace);
        }
        match phase {
            Phase::Unknown => UNKNOWN,
            Phase::Setup if outlives => inferred(Category::Parameter),
            Phase::Setup => inferred(Category::Temporary),
            Phase::Data => self.infer_data(facts, event, freed, index),
            Phase::Forward => self.infer_forward(row, freed, index, span),
            Phase::Backward if facts.is_accumulate() => inferred(Category::Gradient),
            Phase::Backward if facts.is_recompute() => {
                inferred(if self.outlives_call(row, freed, span) {
                    Category::Activation
                } else {
                    Category::Temporary
                })
            }
            Phase::Backward
                if is_cut_off && !known.parameter_sizes.contains(&allocation.requested) =>
            {
                UNKNOWN
            }
            Phase::Backward if outlives => inferred(Category::Gradient),
            Phase::Backward => inferred(Category::Temporary),
            Phase::Optimizer if is_cut_off && !facts.is_optimizer_init() => UNKNOWN,
            Phase::Optimizer if outlives => inferred(Category::OptimizerState),
            Phase::Optimizer => inferred(Category::Temporary),
        }
    }

    /// Memory whose `alloc` event was not recorded, from its stack and name alone.
    fn infer_from_stack(&self, row: u32, facts: StackFacts, stack: StackId) -> Told {
        if self.annotations.contains_key(&row) && stack.is_empty() {
            let text = self.annotations.get(&row).copied().unwrap_or_default();
            return named_like(self.snapshot.strings.get(text)).map_or(UNKNOWN, inferred);
        }
        match facts.role {
            Role::Setup => inferred(Category::Parameter),
            Role::Data => inferred(Category::Input),
            Role::Optimizer if facts.is_optimizer_init() => inferred(Category::OptimizerState),
            Role::Backward if facts.is_accumulate() => inferred(Category::Gradient),
            _ => UNKNOWN,
        }
    }

    fn infer_data(&self, facts: StackFacts, event: u32, freed: Option<u32>, index: usize) -> Told {
        if facts.role == Role::Data {
            return inferred(Category::Input);
        }
        let forward = self
            .phases
            .spans
            .get(index + 1..)
            .and_then(|later| later.iter().find(|span| span.phase == Phase::Forward));
        match (forward, freed) {
            (Some(forward), Some(freed)) if freed < forward.start && freed > event => {
                inferred(Category::Temporary)
            }
            (Some(_), _) => inferred(Category::Input),
            (None, _) => UNKNOWN,
        }
    }

    fn infer_forward(&self, row: u32, freed: Option<u32>, index: usize, span: PhaseSpan) -> Told {
        let next = self.phases.spans.get(index + 1);
        let needed = match next {
            Some(next) if next.phase == Phase::Backward => {
                freed.is_none_or(|freed| freed >= next.start)
            }
            _ => self.outlives_call(row, freed, span),
        };
        inferred(if needed {
            Category::Activation
        } else {
            Category::Temporary
        })
    }

    /// Whether the allocation was still there after the innermost module call that made it; for
    /// one made outside of all modules, after the phase.
    fn outlives_call(&self, row: u32, freed: Option<u32>, span: PhaseSpan) -> bool {
        let call_end = self.calls.call_end.get(row as usize).copied();
        let end = call_end.unwrap_or(u32::MAX).min(span.end);
        freed.is_none_or(|freed| freed >= end)
    }

    /// Whether `allocation` is a cuBLAS workspace by its size and because it is kept for good
    /// while what else the phase made went away.
    fn is_kept_workspace(
        &self,
        allocation: &Allocation,
        phase: Phase,
        index: usize,
        keeps_gradients: &[bool],
    ) -> bool {
        if allocation.free_requested != NEVER
            || !BLAS_WORKSPACE_BYTES.contains(&allocation.requested)
        {
            return false;
        }
        match phase {
            // A later backward would have released an activation.
            Phase::Forward => self.phases.spans.get(index + 1..).is_some_and(|later| {
                let mut later = later.iter().filter(|span| span.phase != Phase::Data);
                later
                    .next()
                    .is_some_and(|span| span.phase == Phase::Backward)
                    && later.next().is_some()
            }),
            Phase::Backward => !keeps_gradients.get(index).copied().unwrap_or(true),
            _ => false,
        }
    }

    /// For each phase span, whether most of what outlives it is never freed. For a backward that
    /// means that its gradients are kept to the end of the recording.
    fn mostly_persistent_backwards(&self) -> Vec<bool> {
        let mut counts = vec![(0_u32, 0_u32); self.phases.spans.len()];
        for id in self.replay.allocations.ids() {
            let allocation = self.replay.allocations.get(id);
            let Some(index) = allocation
                .alloc_event()
                .and_then(|event| self.phases.span_index(event))
            else {
                continue;
            };
            let (Some(span), Some(count)) = (self.phases.spans.get(index), counts.get_mut(index))
            else {
                continue;
            };
            if allocation.free_requested == NEVER {
                count.0 += 1;
            } else if allocation.free_requested > span.end {
                count.1 += 1;
            }
        }
        counts
            .into_iter()
            .map(|(kept, freed)| kept > freed)
            .collect()
    }

    /// Sizes of what was set up and kept: parameters, so a gradient has one of these sizes.
    fn parameter_sizes(&self) -> HashSet<u64, FixedState> {
        let set_up = self.replay.allocations.ids().filter_map(|id| {
            let allocation = self.replay.allocations.get(id);
            let event = allocation.alloc_event()?;
            let kept = self.phases.at(event) == Phase::Setup && allocation.died == NEVER;
            kept.then_some(allocation.requested)
        });
        set_up.collect()
    }
}

/// The category that a tensor's name suggests: `blocks.0.attn.weight`, `exp_avg`.
fn named_like(name: &str) -> Option<Category> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if ["exp_avg", "exp_avg_sq", "momentum_buffer"].contains(&last) {
        Some(Category::OptimizerState)
    } else if last == "grad" {
        Some(Category::Gradient)
    } else if last.ends_with("weight") || last.ends_with("bias") {
        Some(Category::Parameter)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for category in Category::ALL {
            let expected = (category != Category::Unknown).then_some(category);
            assert_eq!(Category::from_name(category.name()), expected);
        }
        assert_eq!(
            Category::from_name("AUTOGRAD_DETAIL"),
            Some(Category::Temporary)
        );
    }

    #[test]
    fn tensor_names_suggest_categories() {
        assert_eq!(
            named_like("blocks.0.attn.in_proj_weight"),
            Some(Category::Parameter)
        );
        assert_eq!(named_like("0.exp_avg_sq"), Some(Category::OptimizerState));
        assert_eq!(named_like("kv cache"), None);
    }
}
