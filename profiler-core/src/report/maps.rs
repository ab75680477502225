//! Segment maps: every block of every segment at a moment.

use std::cmp::Reverse;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::replay::{AllocationId, BlockUse, DeviceReplay, MappedSegment, Moment};
use crate::snapshot::Snapshot;

use super::columns::exact;

/// A free gap, in [`SegmentColumns::uses`].
pub(super) const FREE: i64 = -1;
/// A block in use whose allocation is not kept one by one.
pub(super) const OTHER_IN_USE: i64 = -2;
/// The same, for a block that waits for another stream.
pub(super) const OTHER_PENDING: i64 = -3;

/// One segment and its blocks.
#[derive(Clone, Debug, Serialize)]
struct SegmentColumns {
    /// Hexadecimal.
    address: String,
    size: u64,
    /// The stream's pointer.
    stream: i64,
    /// PyTorch's pool id.
    pool: (u64, u64),
    kind: &'static str,
    expandable: bool,
    /// Sizes of its blocks, in address order; they cover the segment.
    sizes: Vec<u64>,
    /// Who uses each: twice the row of a kept allocation, plus one while it waits for another
    /// stream; or one of the negative numbers above.
    uses: Vec<i64>,
}

/// The map of a device at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SegmentMapColumns {
    name: String,
    moment: Moment,
    segments: Vec<SegmentColumns>,
    /// Segments left out, the ones with the fewest bytes, and their bytes.
    left_out: u64,
    left_out_bytes: u64,
}

/// The map of `replay` at `moment`, with at most `budget` blocks.
pub(super) fn segment_map(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    (name, moment): (&str, Moment),
    kept: &HashMap<AllocationId, u32, FixedState>,
    budget: usize,
) -> SegmentMapColumns {
    let mut all = replay.segment_map_at(moment);
    all.sort_by_key(|mapped| (Reverse(mapped.segment.size), mapped.segment.address));
    let mut room = budget;
    let mut fits = |mapped: &MappedSegment| {
        let fits = mapped.blocks.len() <= room;
        room = if fits { room - mapped.blocks.len() } else { 0 };
        fits
    };
    let count = all.iter().take_while(|mapped| fits(mapped)).count();
    let left_out = all.split_off(count);
    all.sort_by_key(|mapped| mapped.segment.address);
    SegmentMapColumns {
        name: name.to_owned(),
        moment,
        segments: all
            .iter()
            .map(|mapped| columns(snapshot, mapped, kept))
            .collect(),
        left_out: left_out.len() as u64,
        left_out_bytes: exact(
            left_out
                .iter()
                .map(|mapped| mapped.segment.size)
                .fold(0, u64::saturating_add),
        ),
    }
}

fn columns(
    snapshot: &Snapshot,
    mapped: &MappedSegment,
    kept: &HashMap<AllocationId, u32, FixedState>,
) -> SegmentColumns {
    let segment = &mapped.segment;
    let used = |id: AllocationId, pending: bool, other: i64| {
        kept.get(&id)
            .map_or(other, |&row| i64::from(row) * 2 + i64::from(pending))
    };
    let uses = mapped.blocks.iter().map(|block| match block.used_by {
        BlockUse::Free => FREE,
        BlockUse::Allocated(id) => used(id, false, OTHER_IN_USE),
        BlockUse::Pending(id) => used(id, true, OTHER_PENDING),
    });
    SegmentColumns {
        address: format!("{:x}", segment.address),
        size: exact(segment.size),
        stream: snapshot.streams.pointer(segment.stream),
        pool: snapshot.pools.id(segment.pool),
        kind: segment.kind.name(),
        expandable: segment.is_expandable,
        sizes: mapped
            .blocks
            .iter()
            .map(|block| exact(block.size))
            .collect(),
        uses: uses.collect(),
    }
}
