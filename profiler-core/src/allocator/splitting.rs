//! Cutting, listing and merging blocks.

use super::block::{Block, BlockId, Use};
use super::driver::Driver;
use super::lane::{LaneKey, Place};
use super::model::Allocator;
use crate::snapshot::SegmentKind;

impl<D: Driver> Allocator<D> {
    /// Cuts an unlisted block in two; returns the second part.
    pub(super) fn cut(&mut self, id: BlockId, size: u64) -> BlockId {
        let block = self.blocks.get(id);
        let rest = self.blocks.add(Block {
            address: block.address.saturating_add(size),
            size: block.size.saturating_sub(size),
            previous: id,
            ..block
        });
        self.blocks.change(id, |block| {
            block.size = size;
            block.next = rest;
        });
        if let Some(next) = block.next.get() {
            self.blocks.change(next, |block| block.previous = rest);
        }
        rest
    }

    /// Puts a block into its lane's free set (`insert_into_blocks`).
    #[inline]
    pub(super) fn list(&mut self, id: BlockId, pool: u32, kind: SegmentKind) {
        let searches = if self.counts_searches() {
            self.searches_of(pool, kind)
        } else {
            0
        };
        let mut listed = None;
        self.blocks.change(id, |block| {
            block.state = Use::Free;
            block.requested = 0;
            block.freed_at_search = searches;
            listed = Some((Place::of(block, id), block.lane));
        });
        if let Some((place, lane)) = listed
            && let Some(lane) = self.lanes.get_mut(lane as usize)
        {
            lane.insert(place);
        }
    }

    /// Takes a free block out of its lane's free set.
    #[inline]
    pub(super) fn unlist(&mut self, place: Place) {
        let lane = self.blocks.get(place.block).lane;
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.remove(&place);
        }
    }

    /// Merges an allocated or pending block with its free neighbours and puts the result into
    /// its lane (`free_block`).
    pub(super) fn release_to_lane(&mut self, id: BlockId) {
        let block = self.blocks.get(id);
        let mut merged = 0_u64;
        for neighbour in [block.previous, block.next] {
            let more = self.merge(id, neighbour, Use::Free);
            merged = more.saturating_add(merged);
        }
        self.counters.active.subtract(block.size);
        self.counters.requested.subtract(block.requested);
        if !block.is_expandable() {
            if self.blocks.get(id).is_split() {
                self.counters.inactive_split.add(block.size);
            } else {
                self.counters.inactive_split.subtract(merged);
            }
        }
        let key = self.lane_key(block.lane);
        self.list(id, key.pool, key.kind);
    }

    pub(super) fn lane_key(&self, lane: u32) -> LaneKey {
        self.lanes.get(lane as usize).map_or(
            LaneKey {
                pool: 0,
                kind: SegmentKind::Large,
                stream: 0,
            },
            |lane| lane.key,
        )
    }

    /// Makes `other` part of the unlisted block `id` if it is in `state`; returns its bytes
    /// (`try_merge_blocks`).
    pub(super) fn merge(&mut self, id: BlockId, other: BlockId, state: Use) -> u64 {
        let Some(other_id) = other.get() else {
            return 0;
        };
        let other = self.blocks.get(other_id);
        if other.state != state {
            return 0;
        }
        if let Some(lane) = self.lanes.get_mut(other.lane as usize) {
            match state {
                Use::Unmapped => {
                    lane.unmapped.remove(&other.address);
                }
                _ => lane.remove(&Place::of(&other, other_id)),
            }
        }
        let is_before = other.next == id;
        self.blocks.change(id, |block| {
            block.size = block.size.saturating_add(other.size);
            if is_before {
                block.address = other.address;
                block.previous = other.previous;
            } else {
                block.next = other.next;
            }
        });
        let (outer, at_front) = if is_before {
            (other.previous, true)
        } else {
            (other.next, false)
        };
        if let Some(outer) = outer.get() {
            self.blocks.change(outer, |block| {
                if at_front {
                    block.next = id;
                } else {
                    block.previous = id;
                }
            });
        }
        self.blocks.remove(other_id);
        other.size
    }
}
