//! Correcting the start state: guessed block sizes that the recording contradicts.
//!
//! A guess matters only while its block is live, and only through the free block right after it.
//! So when model and recording part, the guesses in question are the live blocks right before
//! the place the model chose and right before (or around) the place the recording has:
//!
//! ```text
//!   │ A │ slack? │ free …          the model places at ▲, the recording at △:
//!   └───┴────────┴───────          A is larger than guessed by △ − ▲
//!       ▲        △
//! ```
//!
//! Each correction is kept if the replay then gets further; if none does, the last one kept is
//! taken back and its alternatives are tried.
//!
//! Where segment ages decide between free blocks of equal size, the order in which the first
//! segments were made is a guess too (by address); each tie the recording resolves the other way
//! is a fact about it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::block::{BlockId, Use};
use super::program::Program;
use super::recorded_driver::SegmentEvent;
use super::replay_run::Run;
use super::settings::Settings;
use super::start_state::{StartSegment, StartState};
use super::version::{Rules, TieBreak};

/// Replays spent on one device at most.
const MAX_REPLAYS: u32 = 2000;

/// A start block and the size to give it.
type Correction = (usize, u64);

/// One point of the search: a conflict and what may resolve it.
struct Choice {
    event: u32,
    alternatives: Vec<Correction>,
    /// What the chosen alternative overwrote.
    undo: Option<Correction>,
}

/// Changes guesses in `program.start` until the replay agrees with the recording as far as
/// guesses can make it, or `max_steps` steps have been replayed. Returns how many blocks changed
/// their size.
pub(super) fn correct_guesses(
    program: &mut Program,
    events: &[SegmentEvent],
    rules: Rules,
    settings: &Settings,
    max_steps: u64,
) -> u64 {
    let has_guesses = program.start.blocks.iter().any(|block| block.is_guess())
        || rules.tie_break == TieBreak::SegmentAge && program.start.segments.len() > 1;
    if !has_guesses {
        return 0;
    }
    let first = program.start.clone();
    let mut best = first.clone();
    let mut best_event = None;
    let mut choices: Vec<Choice> = Vec::new();
    let mut replays = 0;
    let mut steps = 0_u64;
    let mut order = SegmentOrder::default();
    loop {
        replays += 1;
        steps += program.steps.len() as u64;
        let Some(contradiction) = replay(program, events, rules, settings) else {
            best = program.start.clone();
            break;
        };
        let event = contradiction.event;
        if best_event.is_none_or(|best| event > best) {
            best_event = Some(event);
            best = program.start.clone();
        }
        if replays >= MAX_REPLAYS || steps >= max_steps {
            break;
        }
        if let Some((older, younger)) = contradiction.tie
            && order.learn(&mut program.start, older, younger)
        {
            continue;
        }
        if choices.last().is_none_or(|choice| event > choice.event) {
            choices.push(Choice {
                event,
                alternatives: contradiction.corrections,
                undo: None,
            });
        }
        if !take_next_alternative(&mut program.start, &mut choices) {
            break;
        }
    }
    program.start = best;
    let pairs = program.start.blocks.iter().zip(&first.blocks);
    pairs
        .filter(|(now, before)| now.size != before.size)
        .count() as u64
}

/// Applies the next untried correction of the innermost choice that has one.
fn take_next_alternative(start: &mut StartState, choices: &mut Vec<Choice>) -> bool {
    while let Some(choice) = choices.last_mut() {
        if let Some(undo) = choice.undo.take() {
            apply(start, undo);
        }
        if let Some(correction) = choice.alternatives.pop() {
            choice.undo = apply(start, correction);
            return true;
        }
        choices.pop();
    }
    false
}

/// Makes a correction; returns the one that takes it back.
fn apply(start: &mut StartState, (block, size): Correction) -> Option<Correction> {
    let row = start.blocks.get_mut(block)?;
    Some((block, std::mem::replace(&mut row.size, size)))
}

/// What the recording showed of the order in which the first segments were made: of two equal
/// free blocks it took the one of the older segment.
#[derive(Default)]
struct SegmentOrder {
    /// (older, younger) by row.
    pairs: BTreeSet<(usize, usize)>,
}

impl SegmentOrder {
    /// Adds a fact and gives the segments ages that fit all facts, by address where they leave a
    /// choice. False, with nothing changed, if it is known already or contradicts the others.
    fn learn(&mut self, start: &mut StartState, older: usize, younger: usize) -> bool {
        if older == younger || !self.pairs.insert((older, younger)) {
            return false;
        }
        let count = start.segments.len();
        let mut waiting = vec![0_u32; count];
        for &(_, younger) in &self.pairs {
            if let Some(waiting) = waiting.get_mut(younger) {
                *waiting += 1;
            }
        }
        let is_ready = |(row, waiting): (usize, &u32)| (*waiting == 0).then_some(Reverse(row));
        let mut ready: BinaryHeap<_> = waiting.iter().enumerate().filter_map(is_ready).collect();
        let mut ages = vec![0_u32; count];
        let mut age = 0;
        while let Some(Reverse(row)) = ready.pop() {
            age += 1;
            if let Some(slot) = ages.get_mut(row) {
                *slot = age;
            }
            for &(_, younger) in self.pairs.range((row, 0)..=(row, usize::MAX)) {
                if let Some(waiting) = waiting.get_mut(younger) {
                    *waiting -= 1;
                    if *waiting == 0 {
                        ready.push(Reverse(younger));
                    }
                }
            }
        }
        if age as usize != count {
            self.pairs.remove(&(older, younger));
            return false;
        }
        for (segment, age) in start.segments.iter_mut().zip(ages) {
            segment.age = age;
        }
        true
    }
}

/// Where a replay parts from the recording, and what may be wrong.
struct Contradiction {
    event: u32,
    /// The start segments (older, younger) of two equal free blocks the model chose between the
    /// other way round.
    tie: Option<(usize, usize)>,
    /// Sizes to try, the most likely last.
    corrections: Vec<Correction>,
}

/// Replays to the first conflict.
fn replay(
    program: &Program,
    events: &[SegmentEvent],
    rules: Rules,
    settings: &Settings,
) -> Option<Contradiction> {
    let mut run = Run::new(program, events, rules, settings, 0);
    let conflict = run.run_to_conflict()?;
    let mut contradiction = Contradiction {
        event: conflict.event,
        tie: None,
        corrections: Vec::new(),
    };
    let corrections = &mut contradiction.corrections;
    if let Some(replayed) = conflict.replayed {
        // The block the model chose might begin elsewhere.
        let before = run.allocator.block(replayed).previous;
        if let Some((block, now)) = guess_at(&run, program, before)
            && let Some(start) = program.start.blocks.get(block)
        {
            let bounds = [start.bounds.0, start.bounds.1];
            corrections.extend(bounds.map(|size| (block, size)));
            corrections.retain(|&(_, size)| size != now);
        }
    }
    let Some(address) = conflict.recorded else {
        return Some(contradiction);
    };
    // The recorded block begins where the model has slack, or inside a free block.
    let around = run
        .allocator
        .blocks
        .iter()
        .find(|(_, block)| block.address <= address && address < block.end());
    let Some((id, block)) = around else {
        return Some(contradiction);
    };
    // (The block just handed out may lie around it too: it was free.)
    let is_slack = block.state == Use::Allocated && Some(id) != conflict.replayed;
    let owner = if is_slack && block.address < address {
        id
    } else {
        block.previous
    };
    if let Some((row, now)) = guess_at(&run, program, owner)
        && let Some(start) = program.start.blocks.get(row)
    {
        let size = address.saturating_sub(start.address);
        if size != now && (start.bounds.0..=start.bounds.1).contains(&size) {
            corrections.push((row, size));
        }
    }
    if rules.tie_break == TieBreak::SegmentAge
        && let Some(replayed) = conflict.replayed
        && (block.address, block.state) == (address, Use::Free)
    {
        let chosen = run.allocator.block(replayed);
        let rest = run.allocator.block(chosen.next);
        let rest = if rest.state == Use::Free {
            rest.size
        } else {
            0
        };
        if chosen.size.saturating_add(rest) == block.size {
            let segments = &program.start.segments;
            let older = segment_at(segments, address);
            let younger = segment_at(segments, chosen.address);
            contradiction.tie = older.zip(younger);
        }
    }
    Some(contradiction)
}

/// The row of the segment that holds `address`.
fn segment_at(segments: &[StartSegment], address: u64) -> Option<usize> {
    let after = segments.partition_point(|segment| segment.address <= address);
    let row = after.checked_sub(1)?;
    (address < segments.get(row)?.end()).then_some(row)
}

/// The start block behind a handle and its present size, if that is a guess and it is live.
fn guess_at(run: &Run<'_>, program: &Program, id: BlockId) -> Option<(usize, u64)> {
    let id = id.get()?;
    let block = run.allocator.block(id);
    if !matches!(block.state, Use::Allocated | Use::Pending) {
        return None;
    }
    let blocks = &program.start.blocks;
    let index = blocks
        .binary_search_by_key(&block.address, |start| start.address)
        .ok()?;
    let start = blocks.get(index)?;
    let is_same = run.handles().get(index) == Some(&id);
    (is_same && start.is_guess()).then_some((index, start.size))
}
