//! The curves that need nothing but sums: requested and reserved bytes.
//!
//! The final segments say what is there at the end; undoing the events from the last to the first
//! gives every moment before, the start included. This is exact whatever the trace lacks at its
//! beginning, and is how PyTorch's own viewer finds what was live before recording
//! (`torch/utils/viz/MemoryViz.js`).

use crate::snapshot::{Action, DeviceId, Events, Snapshot};

use super::{Curve, Moment};

/// The two curves of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewound {
    /// Requested bytes of active blocks.
    pub(super) requested: Curve,
    /// Bytes of segments.
    pub(super) reserved: Curve,
    /// How many moments came out below zero, which only a trace that contradicts its segments
    /// can give; they are shown as 0.
    pub(super) negative_moments: u64,
}

/// Rewinds `events` of `device` from the final segments.
pub(super) fn rewind(snapshot: &Snapshot, device: DeviceId, events: &Events) -> Rewound {
    let mut requested: i128 = 0;
    let mut reserved: i128 = 0;
    for segment in snapshot.segments.of_device(device) {
        reserved += i128::from(segment.total_size);
        let blocks = snapshot.segments.blocks(segment).iter();
        let active = blocks.filter(|block| block.state.is_active());
        requested += active
            .map(|block| i128::from(block.requested_size))
            .sum::<i128>();
    }
    for row in 0..events.len() {
        requested -= requested_change(events, row);
        reserved -= reserved_change(events, row);
    }

    let mut negative_moments = 0;
    let mut to_bytes = |value: i128| {
        negative_moments += u64::from(value < 0);
        u64::try_from(value.max(0)).unwrap_or(u64::MAX)
    };
    let mut requested_curve = Curve::starting_at(to_bytes(requested));
    let mut reserved_curve = Curve::starting_at(to_bytes(reserved));
    for row in 0..events.len() {
        let moment = row as Moment + 1;
        let change = requested_change(events, row);
        if change != 0 {
            requested += change;
            requested_curve.set(moment, to_bytes(requested));
        }
        let change = reserved_change(events, row);
        if change != 0 {
            reserved += change;
            reserved_curve.set(moment, to_bytes(reserved));
        }
    }
    Rewound {
        requested: requested_curve,
        reserved: reserved_curve,
        negative_moments,
    }
}

/// What the event at `row` adds to the requested bytes of active blocks.
fn requested_change(events: &Events, row: usize) -> i128 {
    match events.action(row) {
        Action::Alloc => i128::from(events.size(row)),
        Action::FreeCompleted => -i128::from(events.size(row)),
        _ => 0,
    }
}

/// What the event at `row` adds to the reserved bytes.
fn reserved_change(events: &Events, row: usize) -> i128 {
    match events.action(row) {
        Action::SegmentAlloc | Action::SegmentMap => i128::from(events.size(row)),
        Action::SegmentFree | Action::SegmentUnmap => -i128::from(events.size(row)),
        _ => 0,
    }
}
