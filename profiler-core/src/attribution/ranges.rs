//! Which `record_function` range each moment is in.
//!
//! Ranges have a name, a device and times, but no thread and no pairing: an end closes the latest
//! open start of its device and name. Of the ranges around a moment the one that began last is the
//! innermost.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BinaryHeap;

use crate::snapshot::{DeviceId, NO_TIME, Snapshot, Stage, StringId};

/// The innermost range by time, for one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// From each time on, the innermost range; none where the name is empty. Ascending.
    changes: Vec<(i64, StringId)>,
}

impl Ranges {
    pub(crate) fn new(snapshot: &Snapshot, device: DeviceId) -> Self {
        let ranges = matched(snapshot, device);
        let mut times: Vec<i64> = ranges
            .iter()
            .flat_map(|&(start, end, _)| [start, end])
            .collect();
        times.sort_unstable();
        times.dedup();
        let mut starting = ranges.iter().enumerate().peekable();
        // (start, position, end): the one that began last on top.
        let mut open: BinaryHeap<(i64, usize, i64)> = BinaryHeap::new();
        let mut changes: Vec<(i64, StringId)> = Vec::new();
        for time in times {
            while let Some((at, &(start, end, _))) =
                starting.next_if(|(_, (start, ..))| *start <= time)
            {
                open.push((start, at, end));
            }
            while open.peek().is_some_and(|&(_, _, end)| end <= time) {
                open.pop();
            }
            let innermost = open.peek().and_then(|&(_, at, _)| ranges.get(at));
            let name = innermost.map_or(StringId::EMPTY, |range| range.2);
            if changes.last().is_none_or(|last| last.1 != name) {
                changes.push((time, name));
            }
        }
        Self { changes }
    }

    /// The innermost range at `time_us`.
    pub(crate) fn at(&self, time_us: i64) -> Option<StringId> {
        if time_us == NO_TIME {
            return None;
        }
        let after = self.changes.partition_point(|(from, _)| *from <= time_us);
        let (_, name) = self.changes.get(after.checked_sub(1)?)?;
        Some(*name).filter(|name| *name != StringId::EMPTY)
    }
}

/// (first microsecond, one past the last, name) of the ranges of `device`, by start; of equal
/// starts the one opened first comes first. A range whose start was lost, or lies before the
/// recording, counts from the first annotation kept; one still open counts to the end.
fn matched(snapshot: &Snapshot, device: DeviceId) -> Vec<(i64, i64, StringId)> {
    let mine = || {
        let all = snapshot.annotations.iter();
        all.filter(move |a| a.device == device && a.time_us != NO_TIME)
    };
    let Some(first) = mine().map(|annotation| annotation.time_us).min() else {
        return Vec::new();
    };
    let mut open: HashMap<StringId, Vec<(usize, i64)>, FixedState> = HashMap::default();
    // With the position of the start, -1 for a lost one, for the order of equal starts.
    let mut ranges: Vec<(i64, i64, i64, StringId)> = Vec::new();
    for (at, annotation) in mine().enumerate() {
        let stack = open.entry(annotation.name).or_default();
        match annotation.stage {
            Stage::Start => stack.push((at, annotation.time_us)),
            Stage::End => {
                let (at, start) = stack
                    .pop()
                    .map_or((-1, first), |(at, start)| (at as i64, start));
                let end = annotation.time_us.saturating_add(1);
                ranges.push((start, at, end, annotation.name));
            }
        }
    }
    for (name, starts) in open {
        for (at, start) in starts {
            ranges.push((start, at as i64, i64::MAX, name));
        }
    }
    ranges.retain(|&(start, _, end, _)| start < end);
    // Of lost starts the one that ends last is the outermost.
    ranges
        .sort_unstable_by_key(|&(start, at, end, name)| (start, at, std::cmp::Reverse(end), name));
    ranges
        .into_iter()
        .map(|(start, _, end, name)| (start, end, name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Annotation;

    fn ranges(all: &[(&str, Stage, i64)]) -> (Snapshot, Ranges) {
        let mut snapshot = Snapshot::default();
        for &(name, stage, time_us) in all {
            let name = snapshot.strings.intern(name);
            snapshot.annotations.push(Annotation {
                name,
                stage,
                device: DeviceId(0),
                time_us,
            });
        }
        let ranges = Ranges::new(&snapshot, DeviceId(0));
        (snapshot, ranges)
    }

    fn names<'a>(found: &'a (Snapshot, Ranges), times: &[i64]) -> Vec<&'a str> {
        let name = |time: &i64| found.1.at(*time).map_or("", |id| found.0.strings.get(id));
        times.iter().map(name).collect()
    }

    #[test]
    fn the_innermost_range_counts() {
        use Stage::{End, Start};
        let found = ranges(&[
            ("step", Start, 10),
            ("forward", Start, 20),
            ("forward", Start, 25),
            ("forward", End, 28),
            ("forward", End, 30),
            ("step", End, 40),
            ("step", Start, 50),
        ]);
        assert_eq!(
            names(&found, &[9, 10, 20, 26, 30, 31, 40, 41, 50, 99]),
            [
                "", "step", "forward", "forward", "forward", "step", "step", "", "step", "step"
            ]
        );
        assert_eq!(found.1.at(NO_TIME), None);
        assert_eq!(Ranges::new(&found.0, DeviceId(1)).at(20), None);
    }

    #[test]
    fn a_lost_start_counts_from_the_first_annotation() {
        use Stage::{End, Start};
        let found = ranges(&[("inner", Start, 10), ("inner", End, 12), ("outer", End, 20)]);
        assert_eq!(
            names(&found, &[9, 11, 15, 20, 21]),
            ["", "inner", "outer", "outer", ""]
        );
    }

    #[test]
    fn ranges_of_two_threads_may_cross() {
        use Stage::{End, Start};
        let found = ranges(&[
            ("a", Start, 10),
            ("b", Start, 20),
            ("a", End, 30),
            ("b", End, 40),
        ]);
        assert_eq!(names(&found, &[15, 25, 35, 41]), ["a", "b", "b", ""]);
    }
}
