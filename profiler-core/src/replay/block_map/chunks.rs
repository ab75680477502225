//! Cutting, joining and recounting the chunks of a [`BlockMap`].

use super::{BlockMap, Chunk, ChunkIndex, Misplaced, NONE, SegmentState};
use crate::replay::AllocationId;

impl BlockMap {
    pub(super) fn take(&mut self, chunk: ChunkIndex, id: AllocationId, size: u64) {
        let gap = self.chunks[chunk as usize];
        self.uncount(gap.segment);
        let segment = &mut self.segments[gap.segment as usize];
        segment.live_blocks += 1;
        segment.free_bytes -= size;
        self.chunks[chunk as usize].owner = Some(id);
        if gap.size > size {
            self.chunks[chunk as usize].size = size;
            self.insert_chunk(Chunk {
                address: gap.address + size,
                size: gap.size - size,
                previous: chunk,
                next: gap.next,
                segment: gap.segment,
                owner: None,
            });
        }
        self.count(gap.segment);
    }

    /// Cuts the gap that holds `address` in two there, so that a block can start at it.
    pub(in crate::replay) fn cut_gap(&mut self, address: u64) -> Result<ChunkIndex, Misplaced> {
        let Some((_, &segment)) = self.segment_at.range(..=address).next_back() else {
            return Err(Misplaced::NoSegment);
        };
        let Some(chunk) = self.chunk_containing(segment, address) else {
            return Err(Misplaced::NoSegment);
        };
        let gap = self.chunks[chunk as usize];
        if let Some(owner) = gap.owner {
            return Err(Misplaced::Inside(owner));
        }
        Ok(self.cut(chunk, address))
    }

    /// Cuts the gap `chunk` at `address`, which lies in it; the part from there on is returned.
    pub(super) fn cut(&mut self, chunk: ChunkIndex, address: u64) -> ChunkIndex {
        let gap = self.chunks[chunk as usize];
        let head = address - gap.address;
        if head == 0 {
            return chunk;
        }
        self.chunks[chunk as usize].size = head;
        self.insert_chunk(Chunk {
            address,
            size: gap.size - head,
            previous: chunk,
            next: gap.next,
            segment: gap.segment,
            owner: None,
        })
    }

    pub(super) fn why_misplaced(&mut self, address: u64) -> Misplaced {
        let Some((_, &segment)) = self.segment_at.range(..=address).next_back() else {
            return Misplaced::NoSegment;
        };
        let Some(chunk) = self.chunk_containing(segment, address) else {
            return Misplaced::NoSegment;
        };
        let chunk = self.chunks[chunk as usize];
        match chunk.owner {
            Some(owner) => Misplaced::Inside(owner),
            None => {
                let previous = self.chunks.get(chunk.previous as usize);
                Misplaced::MidGap(previous.and_then(|previous| previous.owner))
            }
        }
    }

    pub(super) fn chunk_containing(&mut self, segment: u32, address: u64) -> Option<ChunkIndex> {
        let state = self.segments[segment as usize];
        if address >= state.address.saturating_add(state.size) {
            return None;
        }
        if let Some(in_order) = &self.in_order {
            // Chunks cover their segment, so the last one that starts by then holds the address.
            let mut starts = in_order.range(state.address..=address);
            return starts.next_back().map(|(_, &at)| at);
        }
        let mut at = *self.by_address.get(&state.address)?;
        while let Some(chunk) = self.chunks.get(at as usize) {
            self.steps_left = self.steps_left.saturating_sub(1);
            if address < chunk.address.saturating_add(chunk.size) {
                break;
            }
            at = chunk.next;
        }
        if self.steps_left == 0 {
            self.in_order = Some(self.by_address.iter().map(|(&a, &at)| (a, at)).collect());
        }
        (at != NONE).then_some(at)
    }

    pub(super) fn insert_chunk(&mut self, chunk: Chunk) -> ChunkIndex {
        let index = match self.vacant.pop() {
            Some(index) => {
                self.chunks[index as usize] = chunk;
                index
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() as ChunkIndex - 1
            }
        };
        self.by_address.insert(chunk.address, index);
        if let Some(in_order) = &mut self.in_order {
            in_order.insert(chunk.address, index);
        }
        if chunk.previous != NONE {
            self.chunks[chunk.previous as usize].next = index;
        }
        if chunk.next != NONE {
            self.chunks[chunk.next as usize].previous = index;
        }
        index
    }

    pub(super) fn drop_chunk(&mut self, index: ChunkIndex) {
        let chunk = self.chunks[index as usize];
        self.forget(chunk.address);
        self.vacant.push(index);
    }

    /// Takes the chunk at `address` out of the lookups.
    pub(super) fn forget(&mut self, address: u64) {
        self.by_address.remove(&address);
        if let Some(in_order) = &mut self.in_order {
            in_order.remove(&address);
        }
    }

    /// Joins the gap `index` with the chunk after it if that is a gap too.
    pub(super) fn merge_with_next(&mut self, index: ChunkIndex) {
        let next_index = self.chunks[index as usize].next;
        let Some(&next) = self.chunks.get(next_index as usize) else {
            return;
        };
        if next.owner.is_some() {
            return;
        }
        self.drop_chunk(next_index);
        let chunk = &mut self.chunks[index as usize];
        chunk.size += next.size;
        chunk.next = next.next;
        if next.next != NONE {
            self.chunks[next.next as usize].previous = index;
        }
    }

    /// Takes a segment's free bytes out of the totals, before it changes.
    pub(super) fn uncount(&mut self, segment: u32) {
        let state = &self.segments[segment as usize];
        let total = if state.live_blocks > 0 {
            &mut self.split_free
        } else {
            &mut self.whole_free
        };
        *total = total.saturating_sub(state.free_bytes);
    }

    /// Adds a segment's free bytes to the totals, after it changed.
    pub(super) fn count(&mut self, segment: u32) {
        let state = &self.segments[segment as usize];
        let total = if state.live_blocks > 0 {
            &mut self.split_free
        } else {
            &mut self.whole_free
        };
        *total = total.saturating_add(state.free_bytes);
    }

    /// Makes the run `right`, which starts where `left` ends, part of `left`.
    pub(super) fn join(&mut self, left: u32, right: u32) {
        self.uncount(left);
        self.uncount(right);
        let (a, b) = (self.segments[left as usize], self.segments[right as usize]);
        self.segment_at.remove(&b.address);
        // Chunks remember their run, so the shorter list is renamed.
        let head = self.by_address.get(&b.address).copied().unwrap_or(NONE);
        let last = self.last_chunk(a.address);
        let renamed_right = b.live_blocks <= a.live_blocks;
        let (keep, gone) = if renamed_right {
            (left, right)
        } else {
            (right, left)
        };
        if renamed_right {
            self.rename(head, keep);
        } else {
            let first = self.by_address.get(&a.address).copied().unwrap_or(NONE);
            self.rename(first, keep);
        }
        self.segments[keep as usize] = SegmentState {
            address: a.address,
            size: a.size + b.size,
            live_blocks: a.live_blocks + b.live_blocks,
            free_bytes: a.free_bytes + b.free_bytes,
            ..a
        };
        self.segments[gone as usize] = SegmentState::default();
        self.segment_at.insert(a.address, keep);
        if head != NONE && last != NONE {
            self.chunks[last as usize].next = head;
            self.chunks[head as usize].previous = last;
            if self.chunks[last as usize].owner.is_none() {
                self.merge_with_next(last);
            }
        }
        self.count(keep);
    }

    pub(super) fn last_chunk(&mut self, segment_address: u64) -> ChunkIndex {
        let mut at = self
            .by_address
            .get(&segment_address)
            .copied()
            .unwrap_or(NONE);
        while let Some(chunk) = self.chunks.get(at as usize) {
            self.budget = self.budget.saturating_sub(1);
            if chunk.next == NONE {
                break;
            }
            at = chunk.next;
        }
        at
    }

    pub(super) fn rename(&mut self, first: ChunkIndex, segment: u32) {
        let mut at = first;
        while let Some(chunk) = self.chunks.get_mut(at as usize) {
            chunk.segment = segment;
            self.budget = self.budget.saturating_sub(1);
            at = chunk.next;
        }
    }

    /// Makes `segment` the run from `start` to `end`, whose chunks end at `last` plus a gap of
    /// `gap` bytes.
    pub(super) fn rebuild_run(
        &mut self,
        segment: u32,
        start: u64,
        end: u64,
        last: ChunkIndex,
        gap: u64,
    ) {
        if start >= end {
            self.segments[segment as usize] = SegmentState::default();
            return;
        }
        if gap > 0 {
            self.insert_chunk(Chunk {
                address: end - gap,
                size: gap,
                previous: last,
                next: NONE,
                segment,
                owner: None,
            });
        }
        self.recount(segment, start, end);
    }

    /// Makes `segment` the run from `start` to `end`, which begins with a gap of `gap` bytes and
    /// goes on with the chunk `first`.
    pub(super) fn rebuild_tail(
        &mut self,
        segment: u32,
        start: u64,
        end: u64,
        first: ChunkIndex,
        gap: u64,
    ) {
        if gap > 0 {
            self.insert_chunk(Chunk {
                address: start,
                size: gap,
                previous: NONE,
                next: first,
                segment,
                owner: None,
            });
        }
        self.rename(first, segment);
        self.recount(segment, start, end);
    }

    pub(super) fn recount(&mut self, segment: u32, start: u64, end: u64) {
        let mut state = SegmentState {
            address: start,
            size: end - start,
            live_blocks: 0,
            free_bytes: 0,
            ..self.segments[segment as usize]
        };
        let mut at = self.by_address.get(&start).copied().unwrap_or(NONE);
        while let Some(chunk) = self.chunks.get(at as usize) {
            match chunk.owner {
                Some(_) => state.live_blocks += 1,
                None => state.free_bytes += chunk.size,
            }
            self.budget = self.budget.saturating_sub(1);
            at = chunk.next;
        }
        self.segments[segment as usize] = state;
        self.segment_at.insert(start, segment);
        self.count(segment);
    }
}
