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

use super::block::{BlockId, Use};
use super::program::Program;
use super::recorded_driver::SegmentEvent;
use super::replay::Run;
use super::settings::Settings;
use super::start_state::StartState;
use super::version::{Rules, TieBreak};

/// Replays spent on one device at most.
const MAX_REPLAYS: u32 = 2000;
/// Steps replayed on one device at most: a few seconds.
const MAX_STEPS: u64 = 40_000_000;

/// A change of the start state, and what takes it back.
#[derive(Clone, Debug)]
enum Correction {
    /// Give a block another size.
    Size { block: usize, size: u64 },
    /// Say that a segment was made just before another.
    Older { segment: usize, than: usize },
    /// Put the segments' ages back.
    Ages(Vec<u32>),
}

/// One point of the search: a conflict and what may resolve it.
struct Choice {
    event: u32,
    alternatives: Vec<Correction>,
    /// What the chosen alternative overwrote.
    undo: Option<Correction>,
}

/// Changes guesses in `program.start` until the replay agrees with the recording as far as
/// guesses can make it. Returns how many blocks changed their size.
pub(super) fn correct_guesses(
    program: &mut Program,
    events: &[SegmentEvent],
    rules: Rules,
    settings: &Settings,
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
    loop {
        replays += 1;
        steps += program.steps.len() as u64;
        let Some((event, alternatives)) = replay(program, events, rules, settings) else {
            best = program.start.clone();
            break;
        };
        if best_event.is_none_or(|best| event > best) {
            best_event = Some(event);
            best = program.start.clone();
        }
        if replays >= MAX_REPLAYS || steps >= MAX_STEPS {
            break;
        }
        if choices.last().is_none_or(|choice| event > choice.event) {
            choices.push(Choice {
                event,
                alternatives,
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
fn apply(start: &mut StartState, correction: Correction) -> Option<Correction> {
    match correction {
        Correction::Size { block, size } => {
            let row = start.blocks.get_mut(block)?;
            let size = std::mem::replace(&mut row.size, size);
            Some(Correction::Size { block, size })
        }
        Correction::Older { segment, than } => {
            let before: Vec<u32> = start.segments.iter().map(|segment| segment.age).collect();
            let age = before.get(than).copied()?;
            let old_age = before.get(segment).copied()?;
            for row in &mut start.segments {
                if (age..old_age).contains(&row.age) {
                    row.age += 1;
                }
            }
            start.segments.get_mut(segment)?.age = age;
            Some(Correction::Ages(before))
        }
        Correction::Ages(ages) => {
            for (row, age) in start.segments.iter_mut().zip(ages) {
                row.age = age;
            }
            None
        }
    }
}

/// Replays to the first conflict; returns its event with the corrections that may resolve it, the
/// most likely last.
fn replay(
    program: &Program,
    events: &[SegmentEvent],
    rules: Rules,
    settings: &Settings,
) -> Option<(u32, Vec<Correction>)> {
    let mut run = Run::new(program, events, rules, settings, 0);
    let conflict = run.run_to_conflict()?;
    let mut corrections = Vec::new();
    if let Some(replayed) = conflict.replayed {
        // The block the model chose might begin elsewhere.
        let before = run.allocator.block(replayed).previous;
        if let Some((block, now)) = guess_at(&run, program, before)
            && let Some(start) = program.start.blocks.get(block)
        {
            let bounds = [start.bounds.0, start.bounds.1];
            let others = bounds.into_iter().filter(|&size| size != now);
            corrections.extend(others.map(|size| Correction::Size { block, size }));
        }
    }
    let Some(address) = conflict.recorded else {
        return Some((conflict.event, corrections));
    };
    if rules.tie_break == TieBreak::SegmentAge
        && let Some(replayed) = conflict.replayed
    {
        // Or an equal block was in an older segment.
        let chosen = run.allocator.block(replayed).address;
        let segments = &program.start.segments;
        let segment_of = |address: u64| {
            let after = segments.partition_point(|segment| segment.address <= address);
            let index = after.checked_sub(1)?;
            (address < segments.get(index)?.end()).then_some(index)
        };
        if let (Some(segment), Some(than)) = (segment_of(address), segment_of(chosen))
            && let (Some(recorded), Some(replayed)) = (segments.get(segment), segments.get(than))
            && recorded.age > replayed.age
        {
            corrections.push(Correction::Older { segment, than });
        }
    }
    // The recorded block begins where the model has slack, or inside a free block.
    let around = run
        .allocator
        .blocks
        .iter()
        .find(|(_, block)| block.address <= address && address < block.end());
    if let Some((id, block)) = around {
        let owner = if block.state == Use::Allocated && block.address < address {
            id
        } else {
            block.previous
        };
        if let Some((block, now)) = guess_at(&run, program, owner)
            && let Some(start) = program.start.blocks.get(block)
        {
            let size = address.saturating_sub(start.address);
            if size != now && (start.bounds.0..=start.bounds.1).contains(&size) {
                corrections.push(Correction::Size { block, size });
            }
        }
    }
    Some((conflict.event, corrections))
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
