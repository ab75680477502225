//! Giving memory back to the driver: on demand, on failure, by age, and by `empty_cache`.

use super::driver::{Collection, Driver, Piece};
use super::lane::{Lane, LaneKey, Place};
use super::model::{Allocator, Request};
use super::settings::UNLIMITED;
use crate::snapshot::SegmentKind;

impl<D: Driver> Allocator<D> {
    /// `cudaFree` of a free block that is a whole segment (`release_block`).
    pub(super) fn release_segment(&mut self, place: Place) {
        self.unlist(place);
        self.blocks.remove(place.block);
        self.driver.free(Piece {
            address: place.address,
            size: place.size,
        });
        self.counters.reserved.subtract(place.size);
        self.counters.segments.subtract(1);
        self.counters.device_frees += 1;
    }

    /// Gives back segments of at least `max_split_size`: one that is large enough by itself, or
    /// the largest ones until they are (`release_available_cached_blocks`). Returns whether
    /// enough was found.
    pub(super) fn release_available(&mut self, request: &Request) -> bool {
        let limit = self.settings.max_split_size;
        if limit == UNLIMITED {
            return false;
        }
        let needed = request.rounded.max(limit);
        let Some(lane) = self.lanes.get(request.lane as usize) else {
            return false;
        };
        let is_whole = |place: &Place| {
            let block = self.blocks.get(place.block);
            !block.is_expandable() && !block.is_split()
        };
        let single = lane.from(needed).next();
        if let Some(place) = single.filter(is_whole) {
            self.release_segment(place);
            return true;
        }
        let mut released = 0_u64;
        let mut below = needed;
        while released < needed {
            let Some(lane) = self.lanes.get(request.lane as usize) else {
                break;
            };
            let Some(place) = lane.last_below(below).filter(|place| place.size >= limit) else {
                break;
            };
            let block = self.blocks.get(place.block);
            if block.is_expandable() || block.is_split() {
                below = place.size;
                continue;
            }
            released = released.saturating_add(place.size);
            self.release_segment(place);
        }
        released >= needed
    }

    /// Waits for the other streams, then gives back every unused segment and page
    /// (`release_cached_blocks`).
    pub(super) fn release_cached(&mut self) {
        for id in std::mem::take(&mut self.pending) {
            self.release_to_lane(id);
        }
        self.release_pool(0, SegmentKind::Large);
        self.release_pool(0, SegmentKind::Small);
        let mut private: Vec<u32> = self.lane_of.keys().map(|key| key.pool).collect();
        private.dedup();
        for pool in private {
            if pool != 0 && self.driver.is_freeable(pool) {
                self.release_pool(pool, SegmentKind::Small);
                self.release_pool(pool, SegmentKind::Large);
            }
        }
    }

    /// Free blocks of a pool in the order it keeps them: by stream, size and address.
    fn free_of_pool(&self, pool: u32, kind: SegmentKind) -> Vec<Place> {
        let key = |stream| LaneKey { pool, kind, stream };
        self.lane_of
            .range(key(0)..=key(u64::MAX))
            .filter_map(|(_, &lane)| self.lanes.get(lane as usize))
            .flat_map(Lane::all)
            .collect()
    }

    /// `release_blocks`.
    fn release_pool(&mut self, pool: u32, kind: SegmentKind) {
        let mut expandable = Vec::new();
        for place in self.free_of_pool(pool, kind) {
            let block = self.blocks.get(place.block);
            if block.is_expandable() {
                expandable.push(place.block);
            } else if !block.is_split() {
                self.release_segment(place);
            }
        }
        for id in expandable {
            self.unmap_pages(id, pool, kind);
        }
    }

    /// Gives back unused segments of the default large pool that are older than average until
    /// the limit's threshold is met (`garbage_collect_cached_blocks`).
    pub(super) fn collect_garbage(&mut self) {
        let held = self.counters.reserved.current;
        let threshold = self.settings.garbage_collection_threshold;
        let searches = self.searches_of(0, SegmentKind::Large);
        let mut idle: Vec<(Place, u32)> = self
            .free_of_pool(0, SegmentKind::Large)
            .into_iter()
            .filter_map(|place| {
                let block = self.blocks.get(place.block);
                let is_whole = !block.is_expandable() && !block.is_split();
                let age = searches.wrapping_sub(block.freed_at_search);
                is_whole.then_some((place, age))
            })
            .collect();
        let mut total_age: u64 = idle.iter().map(|&(_, age)| u64::from(age)).sum();
        let mut reclaimed = 0_u64;
        while !idle.is_empty() {
            let average = total_age as f64 / idle.len() as f64;
            // The sum shrinks while a round runs, its threshold does not.
            let (round, rest): (Vec<_>, Vec<_>) =
                idle.iter().partition(|(_, age)| f64::from(*age) >= average);
            let pieces: Vec<Piece> = round
                .iter()
                .map(|(place, _)| Piece {
                    address: place.address,
                    size: place.size,
                })
                .collect();
            match self.driver.collect(threshold, held, reclaimed, &pieces) {
                Collection::Done => break,
                Collection::Round => {}
                Collection::These(pieces) => {
                    for piece in pieces {
                        let found = idle.iter().find(|(place, _)| {
                            (place.address, place.size) == (piece.address, piece.size)
                        });
                        if let Some(&(place, _)) = found {
                            self.release_segment(place);
                        }
                    }
                    break;
                }
            }
            for &(place, age) in &round {
                reclaimed = reclaimed.saturating_add(place.size);
                total_age = total_age.saturating_sub(u64::from(age));
                self.release_segment(place);
            }
            if round.is_empty() {
                break;
            }
            idle = rest;
        }
    }
}
