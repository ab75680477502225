//! What a device holds over a run.

use super::counters::Counters;

/// What a device holds after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurvePoint {
    /// The row of the event.
    pub event: u32,
    /// Bytes held.
    pub reserved: u64,
    /// Bytes of allocated blocks.
    pub allocated: u64,
}

/// A curve while the run goes on: every change, or of each part of the run only the highest
/// point and the last.
#[derive(Debug, Default)]
pub(super) struct CurveBuilder {
    points: Vec<CurvePoint>,
    /// Events of one part; 0 to keep every change.
    part: u32,
    /// Of the part under way.
    highest: Option<CurvePoint>,
    last: Option<CurvePoint>,
}

impl CurveBuilder {
    /// For a run of `events` events, cut in `parts` parts if given.
    pub(super) fn new(events: u32, parts: Option<u32>) -> Self {
        Self {
            part: parts.map_or(0, |parts| events.div_ceil(parts.max(1)).max(1)),
            ..Self::default()
        }
    }

    /// Adds what is held after `event`, if something changed.
    pub(super) fn push(&mut self, event: u32, counters: &Counters) {
        let point = CurvePoint {
            event,
            reserved: counters.reserved.current,
            allocated: counters.allocated.current,
        };
        let held = |point: &CurvePoint| (point.reserved, point.allocated);
        if self.last.as_ref().map(held) == Some(held(&point)) {
            return;
        }
        if self.part == 0 {
            self.points.push(point);
        } else {
            let part = |point: &CurvePoint| point.event / self.part;
            if self
                .last
                .as_ref()
                .is_some_and(|last| part(last) != part(&point))
            {
                self.end_part();
            }
            if self
                .highest
                .as_ref()
                .is_none_or(|highest| held(&point) > held(highest))
            {
                self.highest = Some(point);
            }
        }
        self.last = Some(point);
    }

    fn end_part(&mut self) {
        let highest = self.highest.take();
        self.points.extend(highest);
        if highest != self.last {
            self.points.extend(self.last);
        }
    }

    /// The curve.
    pub(super) fn finish(mut self) -> Vec<CurvePoint> {
        if self.part > 0 {
            self.end_part();
        }
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[u64], parts: Option<u32>) -> Vec<(u32, u64)> {
        let mut builder = CurveBuilder::new(values.len() as u32, parts);
        for (event, &reserved) in (0..).zip(values) {
            let mut counters = Counters::default();
            counters.reserved.add(reserved);
            builder.push(event, &counters);
        }
        let points = builder.finish();
        points
            .iter()
            .map(|point| (point.event, point.reserved))
            .collect()
    }

    #[test]
    fn only_changes_are_kept() {
        assert_eq!(curve(&[1, 1, 2, 2, 1], None), [(0, 1), (2, 2), (4, 1)]);
    }

    /// ```text
    ///  part 1 │ 1 9 3 │ part 2 │ 3 3 3 │ part 3 │ 4 2 2 │
    /// ```
    #[test]
    fn a_part_keeps_its_highest_and_its_last_point() {
        let values = [1, 9, 3, 3, 3, 3, 4, 2, 2];
        assert_eq!(curve(&values, Some(3)), [(1, 9), (2, 3), (6, 4), (7, 2)]);
        assert_eq!(curve(&[], Some(3)), []);
        assert_eq!(curve(&[5], Some(3)), [(0, 5)]);
    }
}
