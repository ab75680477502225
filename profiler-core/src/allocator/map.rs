//! A memory map: everything a device holds at one moment.

use std::collections::BTreeMap;

use super::block::{Block, BlockId, Use};
use super::driver::Driver;
use super::model::Allocator;
use super::program::{Program, Step};
use crate::snapshot::SegmentKind;

/// Everything a device holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMap {
    /// The row of the event after which (for a failed allocation: at which) it is.
    pub event: u32,
    /// Segments and mapped ranges by address.
    pub segments: Vec<MapSegment>,
}

/// A segment or mapped range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSegment {
    /// First byte; a simulated segment has a made-up address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Small or large.
    pub kind: SegmentKind,
    /// The pool's number.
    pub pool: u32,
    /// The stream's pointer.
    pub stream: u64,
    /// Whether it is a mapped range of an expandable segment.
    pub is_expandable: bool,
    /// Its blocks by address.
    pub blocks: Vec<MapBlock>,
}

/// A block in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBlock {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes asked for.
    pub requested: u64,
    /// What it is doing.
    pub state: Use,
    /// The row of the allocation, or of the recorded failure that a simulation avoided; None for a
    /// free block and for one made before the recording.
    pub alloc_event: Option<u32>,
}

/// The state of `allocator`, with the allocations of `program` (whose requests have `handles`)
/// named by their events up to `event`, and with one more `served` block.
pub(super) fn map_of<D: Driver>(
    allocator: &Allocator<D>,
    handles: &[BlockId],
    program: &Program,
    event: u32,
    served: Option<(BlockId, u32)>,
) -> BlockMap {
    let mut born = BTreeMap::new();
    for timed in &program.steps {
        if let Step::Malloc(request) = timed.step
            && let Some(&handle) = handles.get(request as usize)
        {
            // A handle is used again once its block is free: the last use counts.
            if timed.event <= event {
                born.insert(handle, timed.event);
            }
        }
    }
    born.extend(served);
    let mut map = BlockMap {
        event,
        segments: Vec::new(),
    };
    for (id, block) in sorted_blocks(allocator) {
        let is_live = matches!(block.state, Use::Allocated | Use::Pending);
        let entry = MapBlock {
            address: block.address,
            size: block.size,
            requested: block.requested,
            state: block.state,
            alloc_event: born.get(&id).copied().filter(|_| is_live),
        };
        let key = allocator.lane_key(block.lane);
        let begins = allocator.begins_segment(&block);
        match map.segments.last_mut() {
            Some(segment)
                if !begins && segment.address.saturating_add(segment.size) == block.address =>
            {
                segment.size = segment.size.saturating_add(block.size);
                segment.blocks.push(entry);
            }
            _ => map.segments.push(MapSegment {
                address: block.address,
                size: block.size,
                kind: key.kind,
                pool: key.pool,
                stream: key.stream,
                is_expandable: block.is_expandable(),
                blocks: vec![entry],
            }),
        }
    }
    map
}

/// Every block by address, unmapped space left out.
fn sorted_blocks<D: Driver>(allocator: &Allocator<D>) -> Vec<(BlockId, Block)> {
    let blocks = allocator.blocks.iter();
    let mut blocks: Vec<_> = blocks
        .filter(|(_, block)| block.state != Use::Unmapped)
        .map(|(id, block)| (id, *block))
        .collect();
    blocks.sort_unstable_by_key(|(_, block)| block.address);
    blocks
}
