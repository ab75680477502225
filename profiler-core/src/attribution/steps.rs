//! Training steps: where each begins and ends, and how much memory it reached.
//!
//! In this order: `record_function` ranges whose name ends in `#` and a number
//! (`ProfilerStep#12`, `train_step#3`); the step of `user_metadata`; the ends of the optimizer's
//! runs; exact repetition ([`super::step_cycle`]). The last two are inferred: one supposes one
//! optimizer step per training step, the other that a step allocates as the one before.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::replay::{DeviceReplay, Moment};
use crate::snapshot::{NO_TIME, Snapshot, Stage, StringId, Trace};

use super::evidence::Evidence;
use super::metadata::MetadataCache;
use super::phase::{EventPhases, Phase};
use super::stack_facts::StackFactsTable;
use super::step_cycle::from_repetition;

/// One training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number: recorded, or counted from 0.
    pub number: u64,
    /// First event.
    pub start: u32,
    /// One past its last event.
    pub end: u32,
    /// The first moment of the step's highest requested bytes.
    pub peak_moment: Moment,
    /// Requested bytes of active blocks at that moment.
    pub peak_bytes: u64,
}

/// The steps of one device, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// The steps; events before, between and after them belong to none.
    pub steps: Vec<Step>,
    /// How the steps are known; unknown if there are none.
    pub evidence: Evidence,
    /// What tells them, for people: `record_function "train_step#…"`. If there are none, why.
    pub source: String,
}

impl Steps {
    pub(crate) fn new(
        snapshot: &Snapshot,
        trace: &Trace,
        replay: &DeviceReplay,
        facts: &StackFactsTable,
        phases: &EventPhases,
        metadata: &mut MetadataCache,
    ) -> Self {
        let mut found = from_annotations(snapshot, trace)
            .or_else(|| from_metadata(snapshot, trace, metadata))
            .or_else(|| from_optimizer(trace, phases))
            .unwrap_or_else(|| from_repetition(trace, replay, facts, phases));
        let mut changes = replay.requested.steps().peekable();
        let mut now = replay.requested.first();
        for step in &mut found.steps {
            // The value the step starts from, and every change in it.
            while let Some((_, value)) = changes.next_if(|(moment, _)| *moment <= step.start) {
                now = value;
            }
            let mut best = (step.start, now);
            while let Some((moment, value)) = changes.next_if(|(moment, _)| *moment <= step.end) {
                now = value;
                if value > best.1 {
                    best = (moment, value);
                }
            }
            (step.peak_moment, step.peak_bytes) = best;
        }
        found
    }

    /// The position in [`Self::steps`] of the step that event `row` belongs to.
    #[must_use]
    pub fn at(&self, row: u32) -> Option<usize> {
        let index = self
            .steps
            .partition_point(|step| step.start <= row)
            .checked_sub(1)?;
        self.steps
            .get(index)
            .filter(|step| row < step.end)
            .map(|_| index)
    }

    /// The position of the step that reached the most memory, the first of equals.
    #[must_use]
    pub fn highest(&self) -> Option<usize> {
        let steps = self.steps.iter().enumerate();
        steps
            .max_by_key(|(index, step)| (step.peak_bytes, std::cmp::Reverse(*index)))
            .map(|(index, _)| index)
    }
}

/// `ProfilerStep#12` as (`ProfilerStep`, 12).
fn numbered(name: &str) -> Option<(&str, u64)> {
    let (word, number) = name.rsplit_once('#')?;
    Some((word, number.parse().ok()?))
}

fn from_annotations(snapshot: &Snapshot, trace: &Trace) -> Option<Steps> {
    if !trace.events.has_times() {
        return None;
    }
    let mut open: HashMap<StringId, i64, FixedState> = HashMap::default();
    let mut ranges: Vec<(&str, u64, i64, i64)> = Vec::new();
    for annotation in &snapshot.annotations {
        if annotation.device != trace.device || annotation.time_us == NO_TIME {
            continue;
        }
        let Some((word, number)) = numbered(snapshot.strings.get(annotation.name)) else {
            continue;
        };
        match annotation.stage {
            Stage::Start => {
                open.insert(annotation.name, annotation.time_us);
            }
            Stage::End => {
                if let Some(start) = open.remove(&annotation.name) {
                    ranges.push((word, number, start, annotation.time_us));
                }
            }
        }
    }
    // A step still open when the snapshot was taken: an OOM, usually.
    ranges.extend(open.into_iter().filter_map(|(name, start)| {
        let (word, number) = numbered(snapshot.strings.get(name))?;
        Some((word, number, start, i64::MAX))
    }));
    let word = most_like_a_step(&ranges)?;
    ranges.retain(|(of, ..)| *of == word);
    ranges.sort_unstable_by_key(|&(_, number, start, end)| (start, number, end));
    let rows = trace.events.len();
    // Times are in order but for jitter of a few microseconds; the first event at or after.
    let row_at = |time: i64| -> u32 {
        let (mut low, mut high) = (0, rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if trace.events.time_us(middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low as u32
    };
    let mut steps: Vec<Step> = Vec::new();
    for (_, number, start, end) in ranges {
        let last = steps.last().map_or(0, |step| step.end);
        let start = row_at(start).max(last);
        let end = row_at(end.saturating_add(1)).max(start);
        if start < end {
            steps.push(step(number, start, end));
        }
    }
    (!steps.is_empty()).then(|| Steps {
        steps,
        evidence: Evidence::Recorded,
        source: format!("record_function \"{word}#…\""),
    })
}

/// The range name that numbers steps: `ProfilerStep` if it is there, else the one that has
/// "step" or "iter" in it, else the one with the most ranges; the first by name of equals.
fn most_like_a_step<'a>(ranges: &[(&'a str, u64, i64, i64)]) -> Option<&'a str> {
    let mut counts: HashMap<&str, usize, FixedState> = HashMap::default();
    for (word, ..) in ranges {
        *counts.entry(word).or_insert(0) += 1;
    }
    let rank = |word: &str| {
        let lower = word.to_ascii_lowercase();
        if word == "ProfilerStep" {
            2
        } else {
            u8::from(lower.contains("step") || lower.contains("iter"))
        }
    };
    let mut words: Vec<(&str, usize)> = counts.into_iter().collect();
    words.sort_unstable();
    words
        .into_iter()
        .rev()
        .max_by_key(|&(word, count)| (rank(word), count))
        .map(|(word, _)| word)
}

fn from_metadata(
    snapshot: &Snapshot,
    trace: &Trace,
    metadata: &mut MetadataCache,
) -> Option<Steps> {
    let mut steps: Vec<Step> = Vec::new();
    let rows = u32::try_from(trace.events.len()).unwrap_or(u32::MAX);
    for row in 0..rows {
        // Metadata is per thread: events of autograd's threads may have none.
        let number = metadata
            .get(&snapshot.strings, trace.events.user_metadata(row as usize))
            .and_then(|metadata| metadata.step);
        let Some(number) = number else {
            continue;
        };
        match steps.last_mut() {
            Some(last) if last.number == number => last.end = row + 1,
            Some(last) => {
                last.end = row;
                steps.push(step(number, row, row + 1));
            }
            None => steps.push(step(number, row, row + 1)),
        }
    }
    (!steps.is_empty()).then(|| Steps {
        steps,
        evidence: Evidence::Recorded,
        source: "step of user_metadata".to_owned(),
    })
}

fn from_optimizer(trace: &Trace, phases: &EventPhases) -> Option<Steps> {
    let rows = u32::try_from(trace.events.len()).unwrap_or(u32::MAX);
    let spans = &phases.spans;
    let first = spans
        .iter()
        .position(|span| matches!(span.phase, Phase::Data | Phase::Forward))?;
    let mut steps = Vec::new();
    let mut start = spans.get(first)?.start;
    let mut worked = false;
    for (index, span) in spans.iter().enumerate().skip(first) {
        worked |= matches!(span.phase, Phase::Forward | Phase::Backward);
        // A run of the optimizer ends a step if a new forward or its data follows.
        let next = spans.get(index + 1).map(|next| next.phase);
        let ends = span.phase == Phase::Optimizer
            && worked
            && matches!(next, Some(Phase::Data | Phase::Forward) | None);
        if ends {
            let end = spans.get(index + 1).map_or(rows, |next| next.start);
            steps.push(step(steps.len() as u64, start, end));
            start = end;
            worked = false;
        }
    }
    if steps.is_empty() {
        return None;
    }
    if worked && start < rows {
        steps.push(step(steps.len() as u64, start, rows));
    }
    Some(Steps {
        steps,
        evidence: Evidence::Inferred,
        source: "runs of the optimizer".to_owned(),
    })
}

pub(super) fn step(number: u64, start: u32, end: u32) -> Step {
    Step {
        number,
        start,
        end,
        peak_moment: 0,
        peak_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_names_are_numbered() {
        assert_eq!(numbered("ProfilerStep#12"), Some(("ProfilerStep", 12)));
        assert_eq!(numbered("Optimizer.step#AdamW.step"), None);
        assert_eq!(numbered("forward"), None);
    }

    #[test]
    fn the_most_step_like_name_is_chosen() {
        let range = |word| (word, 0, 0, 1);
        let all = [
            range("batch"),
            range("batch"),
            range("train_step"),
            range("ProfilerStep"),
        ];
        assert_eq!(most_like_a_step(&all), Some("ProfilerStep"));
        assert_eq!(most_like_a_step(&all[..3]), Some("train_step"));
        assert_eq!(most_like_a_step(&all[..2]), Some("batch"));
        assert_eq!(most_like_a_step(&[]), None);
    }
}
