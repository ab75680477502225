//! Which part of a training step each event belongs to.
//!
//! Stacks tell most events: inside a module call is forward, inside the autograd engine is
//! backward, inside an optimizer is the optimizer step. Where only Python stacks were recorded,
//! the autograd engine's own threads have none, so in a trace that otherwise has stacks an event
//! without one counts as backward. Events that no stack tells take the phase around them: between
//! a forward and its backward is the loss (forward), before a forward is input data.

use crate::replay::DeviceReplay;
use crate::snapshot::{Action, Snapshot, StringId, Trace};

use super::metadata::MetadataCache;
use super::stack_facts::{Role, StackFactsTable};

/// A part of a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Could not be told.
    #[default]
    Unknown,
    /// Modules are constructed, initialised, moved or loaded.
    Setup,
    /// Inputs are made or copied to the device.
    Data,
    /// The forward, and the loss.
    Forward,
    /// The backward.
    Backward,
    /// The optimizer step, gradient clipping before it and `zero_grad` after it.
    Optimizer,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Setup,
        Self::Data,
        Self::Forward,
        Self::Backward,
        Self::Optimizer,
    ];

    /// `forward`, `backward`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Setup => "setup",
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
        }
    }

    /// The phase a program calls `name`, in any case; none for other words.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "forward" | "fwd" => Some(Self::Forward),
            "backward" | "bwd" => Some(Self::Backward),
            "optimizer" | "optim" | "optimizer_step" | "optimizer.step" => Some(Self::Optimizer),
            "data" | "input" => Some(Self::Data),
            "setup" | "init" => Some(Self::Setup),
            _ => None,
        }
    }
}

/// A run of events of one phase, events of unknown phase inside it included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// Its first event.
    pub start: u32,
    /// One past its last event.
    pub end: u32,
}

/// The phases of one device's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventPhases {
    phases: Vec<Phase>,
    pub(crate) spans: Vec<PhaseSpan>,
    /// Whether free events carry the place of the free (`context="all"`) rather than a copy of
    /// the allocation's stack.
    pub(crate) frees_have_sites: bool,
    /// Whether an event without a stack is one of the autograd engine.
    pub(crate) no_stack_is_backward: bool,
}

impl EventPhases {
    pub(crate) fn new(
        snapshot: &Snapshot,
        trace: &Trace,
        replay: &DeviceReplay,
        facts: &StackFactsTable,
        metadata: &mut MetadataCache,
    ) -> Self {
        let events = &trace.events;
        let frees_have_sites = frees_have_sites(trace, replay);
        let mut saw_python_work = false;
        let mut saw_no_stack = false;
        for (row, &action) in events.actions().iter().enumerate() {
            if action == Action::Alloc {
                let stack = events.stack(row);
                saw_no_stack |= stack.is_empty();
                saw_python_work |= matches!(
                    facts.get(stack).role,
                    Role::Forward | Role::Optimizer | Role::Backward
                );
            }
        }
        let no_stack_is_backward = saw_python_work && saw_no_stack;
        let mut phases = Vec::with_capacity(events.len());
        for (row, &action) in events.actions().iter().enumerate() {
            let tells = match action {
                Action::FreeRequested => frees_have_sites,
                // Completed later than requested, it has the stack of whoever polled.
                Action::FreeCompleted | Action::Snapshot | Action::Other => false,
                _ => true,
            };
            let recorded = metadata
                .get(&snapshot.strings, events.user_metadata(row))
                .filter(|_| action != Action::Annotate)
                .and_then(|metadata| metadata.phase);
            let stack = events.stack(row);
            let phase = match recorded {
                Some(phase) => phase,
                None if !tells || action == Action::Annotate => Phase::Unknown,
                // Anomaly mode keeps the forward's traceback for the backward node that runs.
                None if events.forward_frames(row) != StringId::EMPTY => Phase::Backward,
                // Compiled regions run on the program's threads, not on the engine's.
                None if stack.is_empty()
                    && no_stack_is_backward
                    && events.compile_context(row) == StringId::EMPTY =>
                {
                    Phase::Backward
                }
                None => match facts.get(stack).role {
                    Role::Unknown => Phase::Unknown,
                    Role::Forward => Phase::Forward,
                    Role::Backward => Phase::Backward,
                    Role::Optimizer | Role::ZeroGrad => Phase::Optimizer,
                    Role::Setup => Phase::Setup,
                    Role::Data => Phase::Data,
                },
            };
            phases.push(phase);
        }
        let siteless = |row: usize| !frees_have_sites && is_free(events.action(row));
        fill_unknown(&mut phases, siteless);
        let spans = spans(&phases);
        Self {
            phases,
            spans,
            frees_have_sites,
            no_stack_is_backward,
        }
    }

    /// The phase of the event at `row`.
    pub(crate) fn at(&self, row: u32) -> Phase {
        self.phases.get(row as usize).copied().unwrap_or_default()
    }

    /// The position in [`Self::spans`] of the span that `row` is in or that precedes it.
    pub(crate) fn span_index(&self, row: u32) -> Option<usize> {
        self.spans
            .partition_point(|span| span.start <= row)
            .checked_sub(1)
    }
}

/// With `context="alloc"` a free event repeats the stack of its allocation, which says nothing of
/// the moment of the free. Decided on up to 20,000 frees.
fn frees_have_sites(trace: &Trace, replay: &DeviceReplay) -> bool {
    let (mut compared, mut equal) = (0_u32, 0_u32);
    for id in replay.allocations.ids() {
        let allocation = replay.allocations.get(id);
        let (Some(born), Some(freed)) = (
            allocation.alloc_event(),
            allocation.free_requested.checked_sub(1),
        ) else {
            continue;
        };
        let stack = trace.events.stack(born as usize);
        if freed as usize >= trace.events.len() || stack.is_empty() {
            continue;
        }
        compared += 1;
        equal += u32::from(trace.events.stack(freed as usize) == stack);
        if compared == 20_000 {
            break;
        }
    }
    compared > 0 && u64::from(equal) * 100 < u64::from(compared) * 99
}

fn is_free(action: Action) -> bool {
    matches!(action, Action::FreeRequested | Action::FreeCompleted)
}

/// Gives runs of unknown phase the phase that their neighbours imply. Frees that do not tell
/// their place (`siteless`) belong to the optimizer step, or the backward before one, that they
/// follow.
fn fill_unknown(phases: &mut [Phase], siteless: impl Fn(usize) -> bool) {
    let mut row = 0;
    let mut before = Phase::Unknown;
    while row < phases.len() {
        if phases[row] != Phase::Unknown {
            before = phases[row];
            row += 1;
            continue;
        }
        let unknown = phases[row..].iter();
        let length = unknown.take_while(|p| **p == Phase::Unknown).count();
        let end = row + length;
        let after = phases.get(end).copied().unwrap_or_default();
        let implied = match (before, after) {
            (Phase::Forward, Phase::Backward | Phase::Forward | Phase::Unknown) => Phase::Forward,
            (_, Phase::Forward) => Phase::Data,
            (Phase::Backward, Phase::Optimizer) => Phase::Optimizer,
            (before, after) if before == after => before,
            _ => Phase::Unknown,
        };
        if before == Phase::Optimizer || (before, after) == (Phase::Backward, Phase::Optimizer) {
            while row < end && siteless(row) {
                phases[row] = before;
                row += 1;
            }
        }
        phases[row..end].fill(implied);
        row = end;
    }
}

fn spans(phases: &[Phase]) -> Vec<PhaseSpan> {
    let mut spans: Vec<PhaseSpan> = Vec::new();
    for (row, &phase) in phases.iter().enumerate() {
        let row = row as u32;
        if phase == Phase::Unknown {
            continue;
        }
        match spans.last_mut() {
            Some(last) if last.phase == phase => last.end = row + 1,
            _ => spans.push(PhaseSpan {
                phase,
                start: row,
                end: row + 1,
            }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Backward as B, Data as D, Forward as F, Optimizer as O, Unknown as U};

    #[test]
    fn unknown_runs_take_the_phase_around_them() {
        let mut phases = [U, U, F, U, F, U, B, U, O, U, F, U];
        fill_unknown(&mut phases, |_| false);
        assert_eq!(phases, [D, D, F, F, F, F, B, O, O, D, F, F]);
        let mut unknown = [U, U];
        fill_unknown(&mut unknown, |_| false);
        assert_eq!(unknown, [U, U]);
    }

    #[test]
    fn frees_without_a_site_stay_with_what_they_follow() {
        let mut phases = [B, U, U, O, U, U, F];
        // The second event of each run allocates.
        fill_unknown(&mut phases, |row| row == 1 || row == 4);
        assert_eq!(phases, [B, B, O, O, O, D, F]);
    }

    #[test]
    fn spans_bridge_unknown_events() {
        let span = |phase, start, end| PhaseSpan { phase, start, end };
        assert_eq!(
            spans(&[U, F, F, U, F, B, O]),
            [span(F, 1, 5), span(B, 5, 6), span(O, 6, 7)]
        );
    }
}
