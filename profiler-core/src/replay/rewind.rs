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

/// The curves of a recording that began with nothing, made while it is being read: then no end is
/// needed to tell the beginning.
#[derive(Debug)]
pub(super) struct CurvesAhead {
    requested: Curve,
    reserved: Curve,
    /// How many events it has seen.
    seen: usize,
    /// Whether the curves fell below 0, so that the recording did not begin with nothing.
    is_lost: bool,
}

impl Default for CurvesAhead {
    fn default() -> Self {
        Self {
            requested: Curve::starting_at(0),
            reserved: Curve::starting_at(0),
            seen: 0,
            is_lost: false,
        }
    }
}

impl CurvesAhead {
    /// Goes on with the events from row `from` on, wherever they are now.
    pub(super) fn see(&mut self, events: &Events, from: usize) {
        let first = self.seen;
        self.seen += events.len().saturating_sub(from);
        if self.is_lost {
            return;
        }
        for row in from..events.len() {
            let moment = (first + row - from) as Moment + 1;
            let requested = moved(self.requested.last(), requested_change(events, row));
            let reserved = moved(self.reserved.last(), reserved_change(events, row));
            let (Some(requested), Some(reserved)) = (requested, reserved) else {
                *self = Self {
                    seen: self.seen,
                    is_lost: true,
                    ..Self::default()
                };
                return;
            };
            self.requested.set(moment, requested);
            self.reserved.set(moment, reserved);
        }
    }

    /// The curves of the whole recording `events` of `device`, if it began with nothing.
    pub(super) fn finish(
        mut self,
        snapshot: &Snapshot,
        device: DeviceId,
        events: &Events,
    ) -> Option<Rewound> {
        self.see(events, self.seen);
        let (requested, reserved) = at_the_end(snapshot, device);
        let ends_there = requested == i128::from(self.requested.last())
            && reserved == i128::from(self.reserved.last());
        if self.is_lost || !ends_there {
            return None;
        }
        self.requested.shrink_to_fit();
        self.reserved.shrink_to_fit();
        Some(Rewound {
            requested: self.requested,
            reserved: self.reserved,
            negative_moments: 0,
        })
    }
}

/// `bytes` after `change`; None below 0, and where it is no longer a number of bytes.
fn moved(bytes: u64, change: i128) -> Option<u64> {
    u64::try_from(i128::from(bytes) + change).ok()
}

/// The requested and reserved bytes that the final segments of `device` show.
fn at_the_end(snapshot: &Snapshot, device: DeviceId) -> (i128, i128) {
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
    (requested, reserved)
}

/// Rewinds `events` of `device` from the final segments.
pub(super) fn rewind(snapshot: &Snapshot, device: DeviceId, events: &Events) -> Rewound {
    let (mut requested, mut reserved) = at_the_end(snapshot, device);
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
