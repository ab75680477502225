//! The segments at one moment, with the blocks and gaps in them.

use super::{AllocationId, DeviceReplay, Moment, SegmentSpan};

/// Who uses a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockUse {
    /// An allocation of the program.
    Allocated(AllocationId),
    /// An allocation the program let go of that another stream may still use.
    Pending(AllocationId),
    /// Nobody.
    Free,
}

/// A block or gap of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedBlock {
    /// First byte.
    pub address: u64,
    /// Bytes, rounding and slack included.
    pub size: u64,
    /// Who uses it.
    pub used_by: BlockUse,
}

/// A segment with everything in it. The blocks cover it completely, in address order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedSegment {
    /// The segment.
    pub segment: SegmentSpan,
    /// Its blocks and gaps.
    pub blocks: Vec<MappedBlock>,
}

impl MappedSegment {
    /// Bytes of its gaps.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.gaps()
            .map(|block| block.size)
            .fold(0, u64::saturating_add)
    }

    /// Its gaps, in address order.
    pub fn gaps(&self) -> impl Iterator<Item = &MappedBlock> {
        self.blocks
            .iter()
            .filter(|block| block.used_by == BlockUse::Free)
    }

    /// Whether nothing in it is in use, so that the allocator could give it back.
    #[must_use]
    pub fn is_whole_free(&self) -> bool {
        self.blocks
            .iter()
            .all(|block| block.used_by == BlockUse::Free)
    }
}

/// The map of `replay` at `moment`. Live blocks that lie in no segment, or overlap an earlier
/// one, are left out: only a file that contradicts itself has them.
pub(super) fn at(replay: &DeviceReplay, moment: Moment) -> Vec<MappedSegment> {
    let mut live: Vec<_> = replay
        .live_at(moment)
        .into_iter()
        .map(|id| (id, replay.allocations.get(id)))
        .filter(|(_, block)| block.block_size > 0)
        .collect();
    live.sort_by_key(|(_, block)| block.address);
    let mut live = live.into_iter().peekable();
    let segments = replay.segments_at(moment).into_iter();
    let fill = |segment: SegmentSpan| {
        let mut blocks = Vec::new();
        let mut at = segment.address;
        while let Some((id, block)) = live.next_if(|(_, block)| block.address < segment.end()) {
            let end = block.address.checked_add(block.block_size);
            let Some(end) = end.filter(|&end| block.address >= at && end <= segment.end()) else {
                continue;
            };
            push_gap(&mut blocks, at, block.address);
            let pending = block.is_pending_at(moment);
            let used_by = if pending {
                BlockUse::Pending(id)
            } else {
                BlockUse::Allocated(id)
            };
            blocks.push(MappedBlock {
                address: block.address,
                size: block.block_size,
                used_by,
            });
            at = end;
        }
        push_gap(&mut blocks, at, segment.end());
        MappedSegment { segment, blocks }
    };
    segments.map(fill).collect()
}

fn push_gap(blocks: &mut Vec<MappedBlock>, from: u64, to: u64) {
    if from < to {
        blocks.push(MappedBlock {
            address: from,
            size: to - from,
            used_by: BlockUse::Free,
        });
    }
}
