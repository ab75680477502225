//! Putting an allocator into a state taken from a recording.

use std::collections::BTreeMap;

use super::block::{Block, BlockId, NOT_EXPANDABLE, Use};
use super::driver::{Driver, Piece};
use super::lane::LaneKey;
use super::model::Allocator;
use super::start_state::{StartBlock, StartSegment, StartState};

/// Address space given to a restored expandable segment, whose true size is not recorded: more
/// than any device has.
const RESTORED_SPACE: u64 = 1 << 41;

impl<D: Driver> Allocator<D> {
    /// Puts an allocator that holds nothing into `state`. Returns the handles of
    /// [`StartState::blocks`], in order; a block outside every segment has none that works.
    pub fn restore(&mut self, state: &StartState) -> Vec<BlockId> {
        let mut handles = Vec::with_capacity(state.blocks.len());
        let mut blocks = state.blocks.iter().peekable();
        let mut tails: BTreeMap<LaneKey, BlockId> = BTreeMap::new();
        for segment in &state.segments {
            let key = LaneKey {
                pool: segment.pool,
                kind: segment.kind,
                stream: segment.stream,
            };
            let lane = self.lane(key);
            let whole = if segment.is_expandable {
                let space = match tails.get(&key) {
                    Some(&tail) if tail != BlockId::NONE => tail,
                    _ => self.restore_space(segment, lane, key, state),
                };
                let Some((range, tail)) = self.restore_range(segment, space) else {
                    continue;
                };
                tails.insert(key, tail);
                range
            } else {
                self.counters.segments.add(1);
                let age = self.restored_age(segment);
                self.blocks.add(Block {
                    address: segment.address,
                    size: segment.size,
                    requested: 0,
                    previous: BlockId::NONE,
                    next: BlockId::NONE,
                    lane,
                    reservation: NOT_EXPANDABLE,
                    freed_at_search: 0,
                    age,
                    state: Use::Allocated,
                })
            };
            self.counters.reserved.add(segment.size);
            let mut rest = Some(whole);
            while let Some(at) = rest
                && let Some(block) = blocks.next_if(|block| block.address < segment.end())
            {
                rest = self.restore_block(at, block, key, &mut handles);
            }
            if let Some(rest) = rest {
                self.restore_gap(rest, key);
            }
        }
        handles
    }

    /// The rank of a segment that was there, before all that are made later.
    fn restored_age(&mut self, segment: &StartSegment) -> u32 {
        self.ages.as_mut().map_or(0, |ages| {
            *ages = (*ages).max(segment.age);
            segment.age
        })
    }

    /// Cuts `block` out of the unlisted block `rest`; what is before it becomes free, what is
    /// after it is returned.
    fn restore_block(
        &mut self,
        mut rest: BlockId,
        block: &StartBlock,
        key: LaneKey,
        handles: &mut Vec<BlockId>,
    ) -> Option<BlockId> {
        let at = self.blocks.get(rest).address;
        if block.address > at {
            let gap = rest;
            rest = self.cut(gap, block.address - at);
            self.restore_gap(gap, key);
        }
        let used = rest;
        let after = (block.size < self.blocks.get(used).size).then(|| self.cut(used, block.size));
        let size = self.blocks.get(used).size;
        self.blocks.change(used, |row| {
            row.requested = block.requested;
            row.state = if block.is_pending {
                Use::Pending
            } else {
                Use::Allocated
            };
        });
        if block.is_pending {
            self.pending.push(used);
        } else {
            self.counters.allocated.add(size);
        }
        self.counters.active.add(size);
        self.counters.requested.add(block.requested);
        handles.push(used);
        after
    }

    fn restore_gap(&mut self, id: BlockId, key: LaneKey) {
        let gap = self.blocks.get(id);
        if gap.is_split() && !gap.is_expandable() {
            self.counters.inactive_split.add(gap.size);
        }
        self.list(id, key.pool, key.kind);
    }

    /// Address space for the ranges of an expandable lane, as one unmapped block.
    fn restore_space(
        &mut self,
        segment: &StartSegment,
        lane: u32,
        key: LaneKey,
        state: &StartState,
    ) -> BlockId {
        let page = self.rules.page_size(segment.kind).max(1);
        let base = state.bases.get(&(key.pool, key.kind, key.stream));
        let base = base.map_or(segment.address, |&base| base.min(segment.address));
        let size = RESTORED_SPACE.next_multiple_of(page).min(u64::MAX - base);
        let piece = Piece {
            address: base,
            size,
        };
        self.add_reservation(piece, page, lane)
    }

    /// Makes a mapped range an unlisted block of the unmapped block `space`; returns it and the
    /// unmapped block after it ([`BlockId::NONE`] without one).
    fn restore_range(
        &mut self,
        segment: &StartSegment,
        space: BlockId,
    ) -> Option<(BlockId, BlockId)> {
        let whole = self.blocks.get(space);
        if segment.address < whole.address || segment.end() > whole.end() || segment.size == 0 {
            return None;
        }
        let mut range = space;
        if segment.address > whole.address {
            range = self.cut(space, segment.address - whole.address);
        } else if let Some(lane) = self.lanes.get_mut(whole.lane as usize) {
            lane.unmapped.remove(&whole.address);
        }
        let mut tail = BlockId::NONE;
        if segment.end() < whole.end() {
            tail = self.cut(range, segment.size);
            if let Some(lane) = self.lanes.get_mut(whole.lane as usize) {
                lane.unmapped.insert(segment.end(), tail);
            }
        }
        self.blocks
            .change(range, |block| block.state = Use::Allocated);
        Some((range, tail))
    }
}
