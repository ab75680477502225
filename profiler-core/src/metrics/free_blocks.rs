//! Free memory by what can use it: a gap serves only requests of its own stream, pool and size
//! class.

use std::collections::BTreeMap;

use crate::replay::MappedSegment;
use crate::snapshot::{PoolId, SegmentKind, StreamId};

/// What a gap must match to serve a request (`get_free_block` searches one pool, and in it one
/// stream; `c10/cuda/CUDACachingAllocator.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreeClass {
    /// The memory pool.
    pub pool: PoolId,
    /// Small or large.
    pub kind: SegmentKind,
    /// The stream.
    pub stream: StreamId,
}

/// The free memory of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeMemory {
    /// All its gaps, in bytes.
    pub total_bytes: u64,
    /// Its largest gap, in bytes.
    pub largest_bytes: u64,
    /// How many gaps.
    pub gaps: u64,
    /// Bytes of gaps that are whole segments: the allocator can give those back to the driver.
    pub whole_segment_bytes: u64,
}

/// The free memory of each class at one moment, ordered by class.
#[must_use]
pub fn free_memory(map: &[MappedSegment]) -> BTreeMap<FreeClass, FreeMemory> {
    let mut classes: BTreeMap<FreeClass, FreeMemory> = BTreeMap::new();
    for mapped in map {
        let segment = &mapped.segment;
        let class = FreeClass {
            pool: segment.pool,
            kind: segment.kind,
            stream: segment.stream,
        };
        let whole = mapped.is_whole_free();
        for gap in mapped.gaps() {
            let free = classes.entry(class).or_default();
            free.total_bytes = free.total_bytes.saturating_add(gap.size);
            free.largest_bytes = free.largest_bytes.max(gap.size);
            free.gaps += 1;
            if whole {
                free.whole_segment_bytes = free.whole_segment_bytes.saturating_add(gap.size);
            }
        }
    }
    classes
}
