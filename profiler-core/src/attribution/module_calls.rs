//! Which call of which module each allocation was made in.
//!
//! A stack names the lines of the calls but not the objects: six blocks called from one loop give
//! six times the same stacks. The order of events tells them apart. A call of a module is over as
//! soon as an event is recorded in its caller, or in another callee of it, and usually one is: the
//! caller's tensors are freed or added up between two calls.
//!
//! ```text
//! alloc  model:16 › Linear:10      ┐ call 0 of model:16
//! alloc  model:16                  ┘
//! free   (in the caller)           ── over
//! alloc  model:16 › Linear:10      ── call 1
//! ```
//!
//! Where frees do not tell their place (`context="alloc"`), a run of calls with nothing between is
//! split if it is a repetition; see [`split_repetition`].

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::replay::DeviceReplay;
use crate::snapshot::{Action, StackId, Trace};

use super::layer::{LayerId, Layers};
use super::phase::EventPhases;
use super::stack_facts::{CallId, Role, StackFactsTable};

/// The layer of each allocation, and where the innermost call that made it ended.
#[derive(Debug, Default)]
pub(crate) struct AllocationCalls {
    /// By allocation row.
    pub(crate) layer: Vec<LayerId>,
    /// The first event after the innermost call, by allocation row; `u32::MAX` if outside of all
    /// modules or never over.
    pub(crate) call_end: Vec<u32>,
}

/// An event that says where the program was.
#[derive(Clone, Copy)]
struct Mark {
    call: CallId,
    event: u32,
    /// Row of the allocation it made, or [`NO_ALLOCATION`].
    allocation: u32,
}

const NO_ALLOCATION: u32 = u32::MAX;

struct Assigner<'a> {
    facts: &'a StackFactsTable,
    trace: &'a Trace,
    marks: Vec<Mark>,
    /// Calls from the outermost to each call, one after the other.
    paths: Vec<CallId>,
    /// Start of each call's path in `paths`.
    starts: Vec<usize>,
    layers: &'a mut Layers,
    out: AllocationCalls,
}

impl AllocationCalls {
    pub(crate) fn new(
        trace: &Trace,
        replay: &DeviceReplay,
        facts: &StackFactsTable,
        phases: &EventPhases,
        layers: &mut Layers,
    ) -> Self {
        let rows = replay.allocations.len();
        let mut assigner = Assigner {
            facts,
            trace,
            marks: marks(trace, replay, facts, phases),
            paths: Vec::new(),
            starts: Vec::new(),
            layers,
            out: Self {
                layer: vec![LayerId::UNKNOWN; rows],
                call_end: vec![u32::MAX; rows],
            },
        };
        assigner.fill_paths();
        assigner.assign(0, assigner.marks.len(), 0, LayerId::UNKNOWN);
        assigner.out
    }
}

/// Every event with a place, runs of non-allocations at one place as one mark.
fn marks(
    trace: &Trace,
    replay: &DeviceReplay,
    facts: &StackFactsTable,
    phases: &EventPhases,
) -> Vec<Mark> {
    let events = &trace.events;
    let mut by_event = replay
        .allocations
        .ids()
        .filter_map(|id| Some((replay.allocations.get(id).alloc_event()?, id.0)))
        .peekable();
    let mut marks: Vec<Mark> = Vec::new();
    for (row, &action) in events.actions().iter().enumerate() {
        let event = row as u32;
        while by_event.next_if(|(born, _)| *born < event).is_some() {}
        let tells = match action {
            Action::FreeRequested => phases.frees_have_sites,
            Action::FreeCompleted | Action::Snapshot | Action::Annotate | Action::Other => false,
            _ => true,
        };
        if !tells {
            continue;
        }
        let stack = events.stack(row);
        if stack.is_empty() && !phases.no_stack_is_backward {
            continue;
        }
        let call = facts.get(stack).call;
        let allocation = match action {
            Action::Alloc => by_event
                .next_if(|(born, _)| *born == event)
                .map_or(NO_ALLOCATION, |(_, id)| id),
            _ => NO_ALLOCATION,
        };
        let repeats = allocation == NO_ALLOCATION
            && marks
                .last()
                .is_some_and(|last| last.call == call && last.allocation == NO_ALLOCATION);
        if !repeats {
            marks.push(Mark {
                call,
                event,
                allocation,
            });
        }
    }
    marks
}

impl Assigner<'_> {
    fn fill_paths(&mut self) {
        let count = u32::try_from(self.facts.call_count()).unwrap_or(u32::MAX);
        for row in 0..count {
            self.starts.push(self.paths.len());
            let start = self.paths.len();
            let mut at = CallId(row);
            while let Some(call) = self.facts.call(at) {
                self.paths.push(at);
                at = call.parent;
            }
            self.paths[start..].reverse();
        }
    }

    /// The call at `depth` on the way to `call`.
    fn at_depth(&self, call: CallId, depth: u32) -> Option<CallId> {
        let row = call.0 as usize;
        let start = *self.starts.get(row)?;
        let end = self
            .starts
            .get(row + 1)
            .copied()
            .unwrap_or(self.paths.len());
        let at = start + depth as usize;
        if at < end {
            self.paths.get(at).copied()
        } else {
            None
        }
    }

    /// Gives the marks `from..to`, all made by one call of `parent`, their layers. `depth` is the
    /// depth of that call's callees.
    fn assign(&mut self, from: usize, to: usize, depth: u32, parent: LayerId) {
        let mut orders: HashMap<CallId, u32, FixedState> = HashMap::default();
        let end = self.marks.get(to).map_or(u32::MAX, |mark| mark.event);
        let mut at = from;
        while at < to {
            let mark = self.marks[at];
            let Some(call) = self.at_depth(mark.call, depth) else {
                if depth > 0 {
                    self.set(mark.allocation, parent, end);
                }
                at += 1;
                continue;
            };
            let mut run_end = at + 1;
            while run_end < to && self.at_depth(self.marks[run_end].call, depth) == Some(call) {
                run_end += 1;
            }
            let mut starts = split_repetition(self.trace, &self.marks[at..run_end]);
            starts.push(run_end - at);
            for piece in starts.windows(2) {
                let order = orders.entry(call).or_insert(0);
                // The same root module is called again and again: once per step.
                let layer =
                    self.layers
                        .intern_call(parent, call, if depth == 0 { 0 } else { *order });
                *order += 1;
                self.assign(at + piece[0], at + piece[1], depth + 1, layer);
            }
            at = run_end;
        }
    }

    fn set(&mut self, allocation: u32, layer: LayerId, end: u32) {
        let row = allocation as usize;
        if let (Some(to), Some(call_end)) =
            (self.out.layer.get_mut(row), self.out.call_end.get_mut(row))
        {
            *to = layer;
            *call_end = end;
        }
    }
}

/// Where the calls of a repetition begin: `[0]` if `marks` is no repetition.
///
/// `marks` is a run inside one place of the call tree. It is several calls one after the other if
/// its kinds of allocations (stack and size) come again with a period, at least twice in full; the
/// last call may be unfinished, as it is at an OOM. A period has at least two stacks, so that a
/// single line allocating twice is not taken for two calls. Left out of the comparison is what is
/// met once and shares its stack with something that is met again: a library's workspace taken on
/// first use; at most one allocation in twenty.
fn split_repetition(trace: &Trace, marks: &[Mark]) -> Vec<usize> {
    let whole = vec![0];
    let kind = |mark: &Mark| {
        let row = mark.event as usize;
        (trace.events.stack(row), trace.events.size(row))
    };
    let mut kinds: Vec<(usize, (StackId, u64))> = marks
        .iter()
        .enumerate()
        .filter(|(_, mark)| mark.allocation != NO_ALLOCATION)
        .map(|(at, mark)| (at, kind(mark)))
        .collect();
    if kinds.len() < 4 {
        return whole;
    }
    let mut counts: HashMap<(StackId, u64), usize, FixedState> = HashMap::default();
    for (_, kind) in &kinds {
        *counts.entry(*kind).or_insert(0) += 1;
    }
    let regular: HashSet<StackId, FixedState> = counts
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|((stack, _), _)| *stack)
        .collect();
    let before = kinds.len();
    kinds.retain(|(_, kind)| counts.get(kind) != Some(&1) || !regular.contains(&kind.0));
    if kinds.len() < 4 || (before - kinds.len()) * 20 > before {
        return whole;
    }
    let period = smallest_period(&kinds);
    let stacks: HashSet<StackId, FixedState> =
        kinds.iter().take(period).map(|(_, kind)| kind.0).collect();
    if period * 2 > kinds.len() || stacks.len() < 2 {
        return whole;
    }
    let mut starts: Vec<usize> = kinds.iter().step_by(period).map(|(at, _)| *at).collect();
    if let Some(first) = starts.first_mut() {
        *first = 0;
    }
    starts
}

/// The smallest `p` such that every kind equals the one `p` before it (Knuth, Morris and Pratt's
/// failure function); the length if there is no smaller one.
fn smallest_period(kinds: &[(usize, (StackId, u64))]) -> usize {
    let mut borders = vec![0_usize; kinds.len()];
    let mut border = 0;
    for at in 1..kinds.len() {
        while border > 0 && kinds[at].1 != kinds[border].1 {
            border = borders[border - 1];
        }
        if kinds[at].1 == kinds[border].1 {
            border += 1;
        }
        borders[at] = border;
    }
    kinds.len() - borders.last().copied().unwrap_or(0)
}

/// Layers of allocations made in the backward, from what the backward releases.
///
/// A node of the autograd graph allocates its results and then lets go of the tensors its forward
/// had saved. So an allocation of the backward belongs to the module whose saved tensors are
/// released next: of those released before the next allocation, the youngest (older ones are the
/// inputs, made by the module before). Saved inputs being what they are, this is trusted only up
/// to the module around.
pub(crate) fn infer_backward_layers(
    trace: &Trace,
    replay: &DeviceReplay,
    facts: &StackFactsTable,
    phases: &EventPhases,
    layers: &Layers,
    calls: &mut AllocationCalls,
) {
    use super::phase::Phase;
    let mut freed: Vec<(u32, u32)> = Vec::new();
    for id in replay.allocations.ids() {
        let allocation = replay.allocations.get(id);
        let Some(event) = allocation.free_requested.checked_sub(1) else {
            continue;
        };
        let told = calls
            .layer
            .get(id.index())
            .is_some_and(|l| *l != LayerId::UNKNOWN);
        let from_forward = allocation
            .alloc_event()
            .is_some_and(|born| phases.at(born) == Phase::Forward);
        if told && from_forward && phases.at(event) == Phase::Backward {
            freed.push((event, id.0));
        }
    }
    freed.sort_unstable();
    let mut freed = freed.into_iter().peekable();
    let mut pending: Vec<usize> = Vec::new();
    let mut youngest: Option<u32> = None;
    let flush =
        |pending: &mut Vec<usize>, youngest: &mut Option<u32>, calls: &mut AllocationCalls| {
            if let Some(id) = youngest.take() {
                let own = calls.layer.get(id as usize).copied().unwrap_or_default();
                let around = layers.parent(own);
                let layer = if around == LayerId::UNKNOWN {
                    own
                } else {
                    around
                };
                for row in pending.drain(..) {
                    if let Some(to) = calls.layer.get_mut(row) {
                        *to = layer;
                    }
                }
            }
        };
    for id in replay.allocations.ids() {
        let Some(born) = replay.allocations.get(id).alloc_event() else {
            continue;
        };
        while let Some((_, released)) = freed.next_if(|(event, _)| *event < born) {
            youngest = youngest.max(Some(released));
        }
        flush(&mut pending, &mut youngest, calls);
        if phases.at(born) != Phase::Backward {
            pending.clear();
            continue;
        }
        let stack = trace.events.stack(born as usize);
        let in_engine = stack.is_empty() || facts.get(stack).role == Role::Backward;
        if in_engine && calls.layer.get(id.index()) == Some(&LayerId::UNKNOWN) {
            pending.push(id.index());
        }
    }
    for (_, released) in freed {
        youngest = youngest.max(Some(released));
    }
    flush(&mut pending, &mut youngest, calls);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Event;

    fn run(kinds: &[(u32, u64)]) -> (Trace, Vec<Mark>) {
        let mut trace = Trace::default();
        let marks = kinds
            .iter()
            .enumerate()
            .map(|(row, &(stack, size))| {
                trace.events.push(&Event {
                    action: Action::Alloc,
                    stack: StackId(stack),
                    size,
                    ..Event::default()
                });
                Mark {
                    call: CallId(1),
                    event: row as u32,
                    allocation: row as u32,
                }
            })
            .collect();
        (trace, marks)
    }

    #[test]
    fn a_repetition_is_split_where_it_starts_again() {
        // norm, attention, norm, mlp: the two norms share their stack.
        let block = [(1, 8), (2, 24), (1, 8), (3, 32)];
        let (trace, marks) = run(&block.repeat(3));
        assert_eq!(split_repetition(&trace, &marks), [0, 4, 8]);
    }

    #[test]
    fn a_workspace_on_first_use_does_not_hide_the_repetition() {
        let block = [(1, 8), (2, 24), (1, 8), (3, 32)];
        let mut kinds = block.repeat(6);
        kinds.insert(2, (2, 33_554_432));
        let (trace, marks) = run(&kinds);
        assert_eq!(split_repetition(&trace, &marks), [0, 5, 9, 13, 17, 21]);
    }

    #[test]
    fn the_last_call_may_be_unfinished() {
        let block = [(1, 8), (2, 24), (1, 8), (3, 32)];
        let (trace, marks) = run(&block.repeat(3)[..10]);
        assert_eq!(split_repetition(&trace, &marks), [0, 4, 8]);
    }

    #[test]
    fn what_is_no_repetition_stays_whole() {
        for kinds in [
            // One line allocating four times.
            vec![(1, 8); 4],
            // An embedding before and a head after the blocks: one call of the model.
            [vec![(9, 1)], [(1, 8), (2, 8)].repeat(4), vec![(7, 1)]].concat(),
            vec![(1, 8), (2, 8), (3, 8), (4, 8)],
            vec![],
        ] {
            let (trace, marks) = run(&kinds);
            assert_eq!(split_repetition(&trace, &marks), [0], "{kinds:?}");
        }
    }
}
