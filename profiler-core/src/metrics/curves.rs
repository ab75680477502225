//! Requested, allocated, active and reserved bytes over the recording: of a device, or of one of
//! its streams or pools.

use crate::replay::{Allocation, Curve, DeviceReplay, Moment, NEVER, SegmentSpan};
use crate::snapshot::{Events, NO_TIME, PoolId, StreamId};

/// Which part of a device's memory is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Device,
    /// What belongs to one stream.
    Stream(StreamId),
    /// What belongs to one memory pool.
    Pool(PoolId),
}

impl Part {
    fn has(self, stream: StreamId, pool: PoolId) -> bool {
        match self {
            Self::Device => true,
            Self::Stream(wanted) => wanted == stream,
            Self::Pool(wanted) => wanted == pool,
        }
    }
}

/// The four quantities over the moments of a recording, in bytes. Those of the streams, and those
/// of the pools, add up to those of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curves {
    /// Asked for and not yet given back (allocated and pending blocks).
    pub requested: Curve,
    /// Blocks in use, as handed out.
    pub allocated: Curve,
    /// Blocks in use or pending.
    pub active: Curve,
    /// Segments.
    pub reserved: Curve,
}

impl Curves {
    /// The curves of `part` of `replay`'s device.
    #[must_use]
    pub fn of(replay: &DeviceReplay, part: Part) -> Self {
        let blocks: Vec<Allocation> = replay
            .allocations
            .ids()
            .map(|id| replay.allocations.get(id))
            .filter(|block| part.has(block.stream, block.pool))
            .collect();
        let spans: Vec<&SegmentSpan> = replay
            .segments
            .iter()
            .filter(|span| part.has(span.stream, span.pool))
            .collect();
        let active = |block: &Allocation, bytes: u64| (block.born, block.died, bytes);
        Self {
            requested: sum(blocks.iter().map(|b| active(b, b.requested))),
            allocated: sum(blocks
                .iter()
                .map(|b| (b.born, b.free_requested.min(b.died), b.block_size))),
            active: sum(blocks.iter().map(|b| active(b, b.block_size))),
            reserved: sum(spans.iter().map(|span| (span.born, span.died, span.size))),
        }
    }
}

/// Sums what is there from a moment until another.
fn sum(lives: impl Iterator<Item = (Moment, Moment, u64)>) -> Curve {
    let mut changes: Vec<(Moment, i128)> = Vec::new();
    for (from, until, bytes) in lives.filter(|(from, until, _)| from < until) {
        changes.push((from, i128::from(bytes)));
        if until != NEVER {
            changes.push((until, -i128::from(bytes)));
        }
    }
    changes.sort_unstable_by_key(|&(moment, _)| moment);
    let mut value: i128 = 0;
    let mut curve = Curve::starting_at(0);
    for same in changes.chunk_by(|a, b| a.0 == b.0) {
        value += same.iter().map(|(_, change)| change).sum::<i128>();
        let moment = same.first().map_or(0, |&(moment, _)| moment);
        curve.set(moment, u64::try_from(value.max(0)).unwrap_or(u64::MAX));
    }
    curve
}

/// A curve over wall-clock time: microseconds since the Unix epoch and the value from then on.
/// Empty if the events have no times (PyTorch before 2.2). Times that step back, as those of
/// several threads may by a few microseconds, are taken as the latest before them.
#[must_use]
pub fn over_time(curve: &Curve, events: &Events) -> Vec<(i64, u64)> {
    if !events.has_times() {
        return Vec::new();
    }
    let mut out: Vec<(i64, u64)> = Vec::with_capacity(curve.len());
    let mut latest = i64::MIN;
    for (moment, value) in curve.steps() {
        // What held before the first event is dated by it.
        let time = events.time_us(moment.saturating_sub(1) as usize);
        if time != NO_TIME {
            latest = latest.max(time);
        }
        if latest != i64::MIN {
            out.push((latest, value));
        }
    }
    out
}
