//! Steps from exact repetition: inference loops, and training whose optimizer leaves no trace.
//!
//! Every allocation is reduced to its size and stack. A program that does the same work again and
//! again makes the same allocations again, in the same order; one round is taken for a step. Frees
//! are not compared: Python's garbage collector moves them.
//!
//! A layer repeats as well, and so does each block of a model, in the forward and in the backward.
//! A repetition is taken for steps only if what the stacks say of it fits steps:
//!
//! * it comes at least three times in full, with allocations of at least two stacks;
//! * it covers at least half of the allocations made outside of setup;
//! * one round has a forward, and a backward where the recording has backwards at all;
//! * it sets nothing up: a loop that moves one layer after the other to the device is no step;
//! * a round is not part of one call of a module: its allocations are not all inside a module that
//!   another one calls, nor inside the same outermost module while that one allocates at other
//!   places, before or after the repetition.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::replay::DeviceReplay;
use crate::snapshot::{StackId, Trace};

use super::evidence::Evidence;
use super::phase::{EventPhases, Phase};
use super::repetition::{MIN_ROUNDS, Repetition, repetitions};
use super::stack_facts::{CallId, StackFactsTable};
use super::steps::{Step, Steps, step};

/// One allocation of the recording.
struct Allocated {
    event: u32,
    stack: StackId,
}

struct Rounds<'a> {
    replay: &'a DeviceReplay,
    facts: &'a StackFactsTable,
    phases: &'a EventPhases,
    allocated: Vec<Allocated>,
}

/// Why no steps are told.
const NO_STACKS: &str = "none told: no step is named, no optimizer seen, and without stacks a repeated layer looks \
     like a repeated step";
const NO_MODULES: &str = "none told: no step is named, no optimizer seen, and no module call is on \
     the stacks to tell a repeated step from a repeated layer";
const NO_REPETITION: &str = "none told: no step is named, no optimizer seen, and no sequence of \
     allocations that could be a step comes three times in a row";

/// Steps from exact repetition, or none with the reason as their source.
pub(super) fn from_repetition(
    trace: &Trace,
    replay: &DeviceReplay,
    facts: &StackFactsTable,
    phases: &EventPhases,
) -> Steps {
    let none = |why: &str| Steps {
        source: why.to_owned(),
        ..Steps::default()
    };
    let mut kinds: HashMap<(StackId, u64), u32, FixedState> = HashMap::default();
    let mut symbols: Vec<u32> = Vec::new();
    let mut allocated = Vec::new();
    for id in replay.allocations.ids() {
        let allocation = replay.allocations.get(id);
        let Some(event) = allocation.alloc_event() else {
            continue;
        };
        let stack = trace.events.stack(event as usize);
        let next = kinds.len() as u32;
        let symbol = *kinds.entry((stack, allocation.requested)).or_insert(next);
        symbols.push(symbol);
        allocated.push(Allocated { event, stack });
    }
    let rounds = Rounds {
        replay,
        facts,
        phases,
        allocated,
    };
    if rounds.allocated.iter().all(|a| a.stack.is_empty()) {
        return none(if symbols.is_empty() { "" } else { NO_STACKS });
    }
    let mut calls = rounds.allocated.iter().map(|a| facts.get(a.stack).call);
    if calls.all(|call| call == CallId(0)) {
        return none(NO_MODULES);
    }
    let all = repetitions(&symbols, kinds.len());
    let Some(found) = all.into_iter().find(|found| rounds.may_be_steps(*found)) else {
        return none(NO_REPETITION);
    };
    rounds.steps(trace, found)
}

impl Rounds<'_> {
    fn may_be_steps(&self, found: Repetition) -> bool {
        let Some(round) = self.allocated.get(found.start..found.start + found.period) else {
            return false;
        };
        let stacks: HashSet<StackId, FixedState> = round.iter().map(|a| a.stack).collect();
        if stacks.len() < 2 {
            return false;
        }
        let phase = |a: &Allocated| self.phases.at(a.event);
        let working = self.allocated.iter().filter(|a| phase(a) != Phase::Setup);
        if (found.end - found.start) * 2 < working.count() {
            return false;
        }
        let has = |part: &[Allocated], wanted| part.iter().any(|a| phase(a) == wanted);
        let is_whole = has(round, Phase::Forward)
            && !has(round, Phase::Setup)
            && (has(round, Phase::Backward) || !has(&self.allocated, Phase::Backward));
        is_whole && !self.is_within_a_call(found, round, &stacks)
    }

    /// Whether a round may be part of one call of a module.
    fn is_within_a_call(
        &self,
        found: Repetition,
        round: &[Allocated],
        stacks: &HashSet<StackId, FixedState>,
    ) -> bool {
        let place = |a: &Allocated| self.facts.get(a.stack).call;
        let mut common = round.first().map_or(CallId(0), place);
        for other in round.iter().map(place) {
            common = self.common(common, other);
        }
        match self.facts.depth(common) {
            0 => false,
            1 => {
                let before = self.allocated.get(..found.start).unwrap_or(&[]);
                let after = self.allocated.get(found.end..).unwrap_or(&[]);
                before
                    .iter()
                    .chain(after)
                    .any(|a| self.common(place(a), common) == common && !stacks.contains(&a.stack))
            }
            _ => true,
        }
    }

    /// The innermost call place that contains both.
    fn common(&self, mut a: CallId, mut b: CallId) -> CallId {
        while a != b {
            if self.facts.depth(a) >= self.facts.depth(b) {
                a = self.facts.parent(a);
            } else {
                b = self.facts.parent(b);
            }
        }
        a
    }

    fn event(&self, at: usize) -> Option<u32> {
        self.allocated.get(at).map(|a| a.event)
    }

    /// Cuts the repetition into rounds where the least memory is in use: between two steps.
    fn steps(&self, trace: &Trace, found: Repetition) -> Steps {
        // The second round: the first may still free what came before the loop.
        let second = found.start + found.period;
        let cut = (second..second + found.period)
            .filter_map(|at| Some((self.replay.requested.at(self.event(at)?), at)))
            .min()
            .map_or(0, |(_, at)| at - second);
        let first = found.start + cut;
        let rows = u32::try_from(trace.events.len()).unwrap_or(u32::MAX);
        let mut steps: Vec<Step> = Vec::new();
        for at in (first..found.end).step_by(found.period) {
            // A round that the end of the recording cuts off is a step too; one that goes on in
            // another way is not.
            if at + found.period > found.end && found.end < self.allocated.len() {
                break;
            }
            let end = self.event(at + found.period).unwrap_or(rows);
            if let Some(start) = self.event(at) {
                steps.push(step(steps.len() as u64, start, end));
            }
        }
        let rounds = (found.end - found.start) / found.period;
        debug_assert!(rounds >= MIN_ROUNDS, "what is found repeats");
        Steps {
            steps,
            evidence: Evidence::Inferred,
            source: format!(
                "the same {} allocations, {rounds} times in a row; a step is taken to begin where \
                 the least memory is in use",
                found.period
            ),
        }
    }
}
