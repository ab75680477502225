//! The blocks of every segment at one moment, moved along event by event.
//!
//! A segment is covered by chunks, each either one allocation's block or a free gap. Two free
//! chunks side by side are always one: the allocator merges at every free
//! (`DeviceCachingAllocator::free_block`), so the gaps follow from the live blocks alone.
//!
//! ```text
//!   segment 20 MiB   [ a: 4 MiB ][ gap 6 MiB      ][ b: 2 MiB ][ gap 8 MiB              ]
//!   free b           [ a: 4 MiB ][ gap 16 MiB                                           ]
//! ```

mod chunks;

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{PoolId, SegmentKind};

use super::AllocationId;
use super::segment_spans::SegmentSpan;

/// Handle of a chunk; slots of merged chunks are used again.
type ChunkIndex = u32;
/// "No chunk": the end of a segment's list.
const NONE: ChunkIndex = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Chunk {
    address: u64,
    size: u64,
    previous: ChunkIndex,
    next: ChunkIndex,
    segment: u32,
    owner: Option<AllocationId>,
}

/// What a segment holds, kept up to date so that totals need no walk.
#[derive(Clone, Copy, Debug, Default)]
struct SegmentState {
    address: u64,
    size: u64,
    live_blocks: u64,
    free_bytes: u64,
    is_expandable: bool,
    kind: SegmentKind,
    pool: PoolId,
}

/// Why a block could not be put where the event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// The address lies inside the block of this live allocation.
    Inside(AllocationId),
    /// The address lies inside a gap, after its start: the block before it (if any) must be
    /// longer than believed, because the allocator always takes the front of a gap.
    MidGap(Option<AllocationId>),
    /// No segment has the address.
    NoSegment,
    /// The gap at the address is smaller than the request.
    TooSmall,
}

/// All chunks of one device at one moment.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    chunks: Vec<Chunk>,
    vacant: Vec<ChunkIndex>,
    by_address: HashMap<u64, ChunkIndex, FixedState>,
    /// The same in address order, from when a trace turns out to look inside chunks so often
    /// that walking to them costs more than this does. Regular traces never need it.
    in_order: Option<BTreeMap<u64, ChunkIndex>>,
    /// Steps of walks to the chunk around an address that are left before that.
    steps_left: u64,
    segments: Vec<SegmentState>,
    segment_at: BTreeMap<u64, u32>,
    reserved: u64,
    split_free: u64,
    whole_free: u64,
    /// Steps left for walks along chunk lists, which runs that pages are unmapped from need.
    budget: u64,
}

impl BlockMap {
    /// Chunk-list steps allowed per event on average when pages are mapped and unmapped. A hostile
    /// trace could otherwise make each event walk the whole map.
    const WORK_PER_EVENT: u64 = 64;
    /// Events per step of a walk to the chunk around an address, from which on the chunks are put
    /// in order: until then the walks take no time worth mentioning.
    const EVENTS_PER_STEP: u64 = 16;

    pub(super) fn new(events: usize) -> Self {
        let budget = (events as u64)
            .saturating_mul(Self::WORK_PER_EVENT)
            .saturating_add(1 << 20);
        Self {
            budget,
            steps_left: events as u64 / Self::EVENTS_PER_STEP + 16,
            ..Self::default()
        }
    }

    /// Allows the work of `events` more, for a map that was made without knowing how many come.
    pub(super) fn expect_more(&mut self, events: usize) {
        let events = events as u64;
        let more = events.saturating_mul(Self::WORK_PER_EVENT);
        self.budget = self.budget.saturating_add(more);
        let more = events / Self::EVENTS_PER_STEP;
        self.steps_left = self.steps_left.saturating_add(more);
    }

    /// Whether mapping and unmapping pages has taken all the work it may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget == 0
    }

    /// Bytes of all segments.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Free bytes in segments that hold a live block.
    pub(crate) fn split_free(&self) -> u64 {
        self.split_free
    }

    /// Free bytes in segments that hold none.
    pub(crate) fn whole_free(&self) -> u64 {
        self.whole_free
    }

    /// Adds a segment that is one gap. False, and nothing done, if it overlaps another: all else
    /// here relies on segments being apart.
    pub(super) fn add_segment(&mut self, span: &SegmentSpan) -> bool {
        let Some(end) = span
            .address
            .checked_add(span.size)
            .filter(|_| span.size > 0)
        else {
            return false;
        };
        if let Some((_, &at)) = self.segment_at.range(..end).next_back() {
            let other = &self.segments[at as usize];
            if other.address + other.size > span.address {
                return false;
            }
        }
        let segment = self.segments.len() as u32;
        self.segments.push(SegmentState {
            address: span.address,
            size: span.size,
            live_blocks: 0,
            free_bytes: span.size,
            is_expandable: span.is_expandable,
            kind: span.kind,
            pool: span.pool,
        });
        self.segment_at.insert(span.address, segment);
        self.reserved = self.reserved.saturating_add(span.size);
        self.whole_free = self.whole_free.saturating_add(span.size);
        let chunk = Chunk {
            address: span.address,
            size: span.size,
            previous: NONE,
            next: NONE,
            segment,
            owner: None,
        };
        self.insert_chunk(chunk);
        true
    }

    /// Removes a segment and all its chunks; false if it is not there or not all free.
    pub(super) fn remove_segment(&mut self, address: u64) -> bool {
        let Some(&segment) = self.segment_at.get(&address) else {
            return false;
        };
        let state = self.segments[segment as usize];
        let Some(&chunk) = self.by_address.get(&address) else {
            return false;
        };
        if state.live_blocks > 0 || self.chunks[chunk as usize].size != state.size {
            return false;
        }
        self.segment_at.remove(&address);
        self.drop_chunk(chunk);
        self.reserved -= state.size;
        self.whole_free -= state.free_bytes;
        true
    }

    /// Adds pages to an expandable run, or starts one. Joins the run before and the run after.
    /// False if the pages overlap what is there or the budget is used up.
    pub(super) fn map(&mut self, span: &SegmentSpan) -> bool {
        if !self.add_segment(span) {
            return false;
        }
        if self.budget == 0 {
            return false;
        }
        let after = self.segment_at.get(&span.end()).copied();
        let before = self
            .segment_at
            .range(..span.address)
            .next_back()
            .map(|(_, &at)| at);
        let Some(&middle) = self.segment_at.get(&span.address) else {
            return false;
        };
        if let Some(after) = after.filter(|&at| self.segments[at as usize].is_expandable) {
            self.join(middle, after);
        }
        let before = before.filter(|&at| {
            let state = self.segments[at as usize];
            state.is_expandable && state.address.saturating_add(state.size) == span.address
        });
        if let Some(before) = before {
            self.join(before, middle);
        }
        true
    }

    /// Takes pages out of a run's gap, splitting the run if they are in its middle.
    pub(super) fn unmap(&mut self, address: u64, size: u64) -> bool {
        let Some((_, &segment)) = self.segment_at.range(..=address).next_back() else {
            return false;
        };
        if size == 0 || self.budget == 0 || !self.segments[segment as usize].is_expandable {
            return false;
        }
        let Some(chunk) = self.chunk_containing(segment, address) else {
            return false;
        };
        let gap = self.chunks[chunk as usize];
        let Some(end) = address.checked_add(size) else {
            return false;
        };
        if gap.owner.is_some() || end > gap.address.saturating_add(gap.size) {
            return false;
        }
        let state = self.segments[segment as usize];
        let run_end = state.address.saturating_add(state.size);
        let (head, tail) = (address - gap.address, gap.address + gap.size - end);
        self.uncount(segment);
        self.reserved = self.reserved.saturating_sub(size);
        // The part before the hole keeps the segment, the part after it becomes a new one.
        self.forget(gap.address);
        if let Some(previous) = self.chunks.get_mut(gap.previous as usize) {
            previous.next = NONE;
        }
        if let Some(next) = self.chunks.get_mut(gap.next as usize) {
            next.previous = NONE;
        }
        self.vacant.push(chunk);
        self.segment_at.remove(&state.address);
        self.rebuild_run(segment, state.address, address, gap.previous, head);
        if end < run_end {
            let fresh = self.segments.len() as u32;
            self.segments.push(state);
            self.rebuild_tail(fresh, end, run_end, gap.next, tail);
        }
        true
    }

    /// Fills in blocks that were there from the start: handle, address and size, in address
    /// order. Those that do not fit are left out and returned.
    pub(super) fn fill(
        &mut self,
        blocks: impl Iterator<Item = (AllocationId, u64, u64)>,
    ) -> Vec<AllocationId> {
        let mut left_out = Vec::new();
        let mut cursor = NONE;
        for (id, address, size) in blocks {
            let holder = self.segment_at.range(..=address).next_back();
            let Some((start, &segment)) = holder.map(|(&start, at)| (start, at)) else {
                left_out.push(id);
                continue;
            };
            // Blocks come in address order: the gap to cut is the one the last block left.
            let in_gap = |chunk: &Chunk| {
                chunk.segment == segment && chunk.owner.is_none() && chunk.address <= address
            };
            if !self.chunks.get(cursor as usize).is_some_and(in_gap) {
                cursor = self.by_address.get(&start).copied().unwrap_or(NONE);
            }
            let gap = self.chunks.get(cursor as usize).copied().filter(in_gap);
            let fits = gap.is_some_and(|gap| address - gap.address < gap.size)
                && gap.is_some_and(|gap| size > 0 && size <= gap.size - (address - gap.address));
            if !fits {
                left_out.push(id);
                continue;
            }
            let chunk = self.cut(cursor, address);
            self.take(chunk, id, size);
            cursor = self.chunks[chunk as usize].next;
        }
        left_out
    }

    /// The size class and pool of the segment whose chunk starts at `address`.
    pub(super) fn home(&self, address: u64) -> Option<(SegmentKind, PoolId)> {
        let chunk = self.chunks[*self.by_address.get(&address)? as usize];
        let segment = &self.segments[chunk.segment as usize];
        Some((segment.kind, segment.pool))
    }

    /// Bytes of the gap or block that starts at `address`.
    pub(super) fn chunk_size(&self, address: u64) -> Option<u64> {
        Some(self.chunks[*self.by_address.get(&address)? as usize].size)
    }

    /// Puts a block of `rounded` bytes at `address`. `splits(kind, free, rounded)` says whether
    /// the allocator cuts the rest off. Returns the block's size, and its segment's size class and
    /// pool.
    pub(super) fn alloc(
        &mut self,
        id: AllocationId,
        address: u64,
        rounded: u64,
        splits: impl Fn(SegmentKind, u64, u64) -> bool,
    ) -> Result<(u64, (SegmentKind, PoolId)), Misplaced> {
        let Some(&chunk) = self.by_address.get(&address) else {
            return Err(self.why_misplaced(address));
        };
        let gap = self.chunks[chunk as usize];
        if let Some(owner) = gap.owner {
            return Err(Misplaced::Inside(owner));
        }
        if gap.size < rounded || rounded == 0 {
            return Err(Misplaced::TooSmall);
        }
        let SegmentState { kind, pool, .. } = self.segments[gap.segment as usize];
        let size = if splits(kind, gap.size, rounded) {
            rounded
        } else {
            gap.size
        };
        self.take(chunk, id, size);
        Ok((size, (kind, pool)))
    }

    /// Puts a block of exactly `size` bytes at `address`, wherever in a gap that is.
    pub(super) fn place(
        &mut self,
        id: AllocationId,
        address: u64,
        size: u64,
    ) -> Result<(), Misplaced> {
        let chunk = match self.by_address.get(&address) {
            Some(&chunk) => chunk,
            None => self.cut_gap(address)?,
        };
        let gap = self.chunks[chunk as usize];
        if let Some(owner) = gap.owner {
            return Err(Misplaced::Inside(owner));
        }
        if gap.size < size || size == 0 {
            return Err(Misplaced::TooSmall);
        }
        self.take(chunk, id, size);
        Ok(())
    }

    /// Shortens the block at `address` to `size` bytes, freeing its tail.
    pub(super) fn shrink(&mut self, address: u64, size: u64) {
        let Some(&chunk) = self.by_address.get(&address) else {
            return;
        };
        let block = self.chunks[chunk as usize];
        if block.owner.is_none() || size == 0 || size >= block.size {
            return;
        }
        self.uncount(block.segment);
        let tail = Chunk {
            address: address + size,
            size: block.size - size,
            previous: chunk,
            next: block.next,
            segment: block.segment,
            owner: None,
        };
        self.chunks[chunk as usize].size = size;
        self.segments[block.segment as usize].free_bytes += tail.size;
        let tail_index = self.insert_chunk(tail);
        self.merge_with_next(tail_index);
        self.count(block.segment);
    }

    /// Frees the block at `address`, merging it with the gaps beside it. False if `id` is not
    /// there.
    pub(super) fn free(&mut self, id: AllocationId, address: u64) -> bool {
        let Some(&chunk) = self.by_address.get(&address) else {
            return false;
        };
        let block = self.chunks[chunk as usize];
        if block.owner != Some(id) {
            return false;
        }
        self.uncount(block.segment);
        let segment = &mut self.segments[block.segment as usize];
        segment.live_blocks -= 1;
        segment.free_bytes += block.size;
        self.chunks[chunk as usize].owner = None;
        self.merge_with_next(chunk);
        if block.previous != NONE && self.chunks[block.previous as usize].owner.is_none() {
            self.merge_with_next(block.previous);
        }
        self.count(block.segment);
        true
    }
}
