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

/// Adds a point if something changed.
pub(super) fn push_point(curve: &mut Vec<CurvePoint>, event: u32, counters: &Counters) {
    let point = CurvePoint {
        event,
        reserved: counters.reserved.current,
        allocated: counters.allocated.current,
    };
    let is_same =
        |last: &CurvePoint| (last.reserved, last.allocated) == (point.reserved, point.allocated);
    if !curve.last().is_some_and(is_same) {
        curve.push(point);
    }
}
