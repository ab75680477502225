//! The caching allocator, rule for rule (`Native::DeviceCachingAllocator` in
//! `c10/cuda/CUDACachingAllocator.cpp`).
//!
//! ```text
//! malloc ── free block that fits? ──yes──────────────────────────────▶ split, hand out
//!              │ no                                                        ▲
//!              ▼                                                           │
//!   collect garbage ─▶ new segment or pages ──ok──────────────────────────▶┤
//!                            │ no room                                     │
//!                            ▼                                             │
//!            release blocks ≥ max_split_size ─▶ new segment or pages ──ok─▶┤
//!                            │ no room                                     │
//!                            ▼                                             │
//!            release everything unused ──────▶ new segment or pages ──ok─▶─┘
//!                            │ no room
//!                            ▼
//!                      out of memory
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, BlockId, Blocks, NOT_EXPANDABLE, Use};
use super::counters::Counters;
use super::driver::{Collection, Driver, Piece};
use super::lane::{Lane, LaneKey, Place};
use super::rounding::SizeRules;
use super::settings::{Settings, UNLIMITED};
use super::version::{Rules, TieBreak};
use crate::snapshot::SegmentKind;

/// A request that could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {rounded} bytes (a segment of {segment_size})")]
pub struct OutOfMemory {
    /// The request as rounded.
    pub rounded: u64,
    /// What would have been taken from the driver.
    pub segment_size: u64,
}

/// A request while it is being served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) requested: u64,
    pub(super) rounded: u64,
    pub(super) segment_size: u64,
    pub(super) kind: SegmentKind,
    pub(super) pool: u32,
    pub(super) lane: u32,
}

/// Address space of one expandable segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reservation {
    pub(super) piece: Piece,
    pub(super) page: u64,
}

/// The allocator of one device on top of a [`Driver`].
#[derive(Clone, Debug)]
pub struct Allocator<D> {
    pub(super) settings: Settings,
    pub(super) rules: SizeRules,
    pub(super) driver: D,
    pub(super) blocks: Blocks,
    pub(super) lanes: Vec<Lane>,
    lane_of: BTreeMap<LaneKey, u32>,
    last_lane: Option<(LaneKey, u32)>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) pending: BTreeSet<BlockId>,
    /// Searches for a free block by pool, counted while garbage collection is set up
    /// (`get_free_blocks_call_count`).
    searches: BTreeMap<(u32, SegmentKind), u32>,
    pub(super) counters: Counters,
    /// Segments made so far, if their age decides between blocks of equal size.
    pub(super) ages: Option<u32>,
}

impl<D: Driver> Allocator<D> {
    /// An allocator that holds nothing yet.
    #[must_use]
    pub fn new(rules: Rules, settings: Settings, driver: D) -> Self {
        Self {
            rules: SizeRules::new(rules.dialect, &settings),
            ages: (rules.tie_break == TieBreak::SegmentAge).then_some(0),
            settings,
            driver,
            blocks: Blocks::default(),
            lanes: Vec::new(),
            lane_of: BTreeMap::new(),
            last_lane: None,
            reservations: Vec::new(),
            pending: BTreeSet::new(),
            searches: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What stands behind it.
    #[must_use]
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// What stands behind it, to change it between calls.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The block; an empty one for a handle that is not of this allocator.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Block {
        self.blocks.get(id)
    }

    /// Serves a request of `requested` bytes for `stream` (its pointer) from `pool` (0 is the
    /// default one).
    ///
    /// # Errors
    /// When nothing that could be released made room.
    pub fn malloc(
        &mut self,
        requested: u64,
        stream: u64,
        pool: u32,
    ) -> Result<BlockId, OutOfMemory> {
        let rounded = self.rules.round_size(requested);
        let kind = self.rules.kind(rounded);
        let request = Request {
            requested,
            rounded,
            segment_size: self.rules.segment_size(rounded),
            kind,
            pool,
            lane: self.lane(LaneKey { pool, kind, stream }),
        };
        match self.take_free(&request).or_else(|| self.take_new(&request)) {
            Some(block) => Ok(self.hand_out(block, &request)),
            None => {
                self.counters.ooms += 1;
                Err(OutOfMemory {
                    rounded,
                    segment_size: request.segment_size,
                })
            }
        }
    }

    /// The program lets go of an allocated block, and no other stream uses it.
    #[inline]
    pub fn free(&mut self, id: BlockId) {
        let block = self.blocks.get(id);
        if block.state == Use::Allocated {
            self.counters.allocated.subtract(block.size);
            self.release_to_lane(id);
        }
    }

    /// The program lets go of an allocated block that another stream still uses.
    pub fn free_later(&mut self, id: BlockId) {
        let block = self.blocks.get(id);
        if block.state == Use::Allocated {
            self.counters.allocated.subtract(block.size);
            self.blocks.change(id, |block| block.state = Use::Pending);
            self.pending.insert(id);
        }
    }

    /// The other streams are done with a block given to [`Self::free_later`]. Does nothing if
    /// a retry already waited for them.
    pub fn complete_free(&mut self, id: BlockId) {
        match self.blocks.get(id).state {
            Use::Pending => {
                self.pending.remove(&id);
                self.release_to_lane(id);
            }
            Use::Allocated => self.free(id),
            _ => {}
        }
    }

    /// Whether a block is the first of its segment or mapped range.
    pub(super) fn begins_segment(&self, block: &Block) -> bool {
        match block.previous.get() {
            Some(previous) => self.blocks.get(previous).state == Use::Unmapped,
            None => true,
        }
    }

    /// `torch.cuda.empty_cache()`: gives back everything unused.
    pub fn empty_cache(&mut self) {
        self.release_cached();
    }

    /// The lane of `key`, made if there is none yet.
    #[inline]
    pub(super) fn lane(&mut self, key: LaneKey) -> u32 {
        if let Some((last, lane)) = self.last_lane
            && last == key
        {
            return lane;
        }
        let lanes = &mut self.lanes;
        let lane = *self.lane_of.entry(key).or_insert_with(|| {
            lanes.push(Lane::new(key));
            lanes.len() as u32 - 1
        });
        self.last_lane = Some((key, lane));
        lane
    }

    /// The rank of a segment made now.
    pub(super) fn next_age(&mut self) -> u32 {
        self.ages.as_mut().map_or(0, |ages| {
            *ages = ages.saturating_add(1);
            *ages
        })
    }

    /// Whether free blocks' ages matter.
    fn counts_searches(&self) -> bool {
        self.settings.garbage_collection_threshold > 0.0
    }

    fn searches_of(&self, pool: u32, kind: SegmentKind) -> u32 {
        self.searches.get(&(pool, kind)).copied().unwrap_or(0)
    }

    /// Takes the best free block out of the request's lane (`get_free_block`).
    #[inline]
    fn take_free(&mut self, request: &Request) -> Option<BlockId> {
        if self.counts_searches() {
            let searches = self
                .searches
                .entry((request.pool, request.kind))
                .or_insert(0);
            *searches = searches.wrapping_add(1);
        }
        let lane = self.lanes.get(request.lane as usize)?;
        let mut best = lane.first_fit(request.rounded)?;
        if self.blocks.get(best.block).is_expandable() {
            best = self.best_expandable(lane, best)?;
        }
        let limit = self.settings.max_split_size;
        if request.rounded < limit {
            if best.size >= limit {
                return None;
            }
        } else {
            let rounding = self.settings.max_non_split_rounding;
            if best.size >= request.rounded.saturating_add(rounding) {
                return None;
            }
        }
        self.unlist(best);
        Some(best.block)
    }

    /// Which free block serves a request whose best fit is in an expandable segment: that of the
    /// least size counted with the unmapped space it can grow into; or, if such segments are off
    /// by now, the next one that is in none.
    fn best_expandable(&self, lane: &Lane, first: Place) -> Option<Place> {
        let mut candidates = lane.from(first.size).skip_while(|place| *place < first);
        let mut best = candidates.next()?;
        if !self.settings.expandable_segments {
            return candidates.find(|place| !self.blocks.get(place.block).is_expandable());
        }
        for next in candidates {
            let grows_less = self.size_with_growth(next) < self.size_with_growth(best);
            if !self.blocks.get(best.block).is_expandable() || !grows_less {
                break;
            }
            best = next;
        }
        Some(best)
    }

    fn size_with_growth(&self, place: Place) -> u64 {
        let next = self.blocks.get(self.blocks.get(place.block).next);
        let growth = if next.state == Use::Unmapped {
            next.size
        } else {
            0
        };
        place.size.saturating_add(growth)
    }

    /// Gets memory from the driver, releasing what is cached if need be.
    fn take_new(&mut self, request: &Request) -> Option<BlockId> {
        let held = self.counters.reserved.current;
        if self.settings.throw_on_cudamalloc_oom
            && !self.driver.is_within_limit(held, request.segment_size)
        {
            return None;
        }
        if self.counts_searches() {
            self.collect_garbage();
        }
        if let Some(block) = self.take_from_driver(request) {
            return Some(block);
        }
        if self.release_available(request)
            && let Some(block) = self.take_from_driver(request)
        {
            return Some(block);
        }
        // A capture is underway while a private pool is in use: nothing may be released then.
        if request.pool != 0 {
            return None;
        }
        self.release_cached();
        self.counters.alloc_retries += 1;
        self.take_from_driver(request)
    }

    /// A new segment, or pages of an expandable one (`alloc_block`).
    fn take_from_driver(&mut self, request: &Request) -> Option<BlockId> {
        let held = self.counters.reserved.current;
        if !self.driver.is_within_limit(held, request.segment_size) {
            return None;
        }
        if self.settings.expandable_segments {
            return self.take_expandable(request);
        }
        let address = self.driver.allocate(request.segment_size)?;
        self.counters.reserved.add(request.segment_size);
        self.counters.segments.add(1);
        self.counters.device_allocs += 1;
        let age = self.next_age();
        Some(self.blocks.add(Block {
            address,
            size: request.segment_size,
            requested: 0,
            previous: BlockId::NONE,
            next: BlockId::NONE,
            lane: request.lane,
            reservation: NOT_EXPANDABLE,
            freed_at_search: 0,
            age,
            // Handed out, or given back to its lane, right after.
            state: Use::Allocated,
        }))
    }

    /// Splits what is too much off an unlisted block, and hands it out (`alloc_found_block`).
    #[inline]
    fn hand_out(&mut self, id: BlockId, request: &Request) -> BlockId {
        let id = self.align_front(id, request);
        let found = self.blocks.get(id);
        let was_split = found.is_split() && !found.is_expandable();
        let mut size = found.size;
        if self
            .rules
            .should_split(request.kind, found.size, request.rounded)
        {
            size = request.rounded;
            let rest = self.cut(id, request.rounded);
            self.list(rest, request.pool, request.kind);
            if !found.is_expandable() {
                if was_split {
                    self.counters.inactive_split.subtract(size);
                } else {
                    self.counters.inactive_split.add(found.size - size);
                }
            }
        } else if was_split {
            self.counters.inactive_split.subtract(size);
        }
        self.blocks.change(id, |block| {
            block.state = Use::Allocated;
            block.requested = request.requested;
        });
        self.counters.allocated.add(size);
        self.counters.active.add(size);
        self.counters.requested.add(request.requested);
        id
    }

    /// Gives back the front of an unlisted block that the rules keep free for alignment; returns
    /// what is left.
    #[inline]
    fn align_front(&mut self, id: BlockId, request: &Request) -> BlockId {
        let found = self.blocks.get(id);
        let front = self.rules.front(found.address, found.size, request.rounded);
        if front == 0 {
            return id;
        }
        let rest = self.cut(id, front);
        self.list(id, request.pool, request.kind);
        rest
    }

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
    fn unlist(&mut self, place: Place) {
        let lane = self.blocks.get(place.block).lane;
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.remove(&place);
        }
    }

    /// Merges an allocated or pending block with its free neighbours and puts the result into
    /// its lane (`free_block`).
    fn release_to_lane(&mut self, id: BlockId) {
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
    fn release_available(&mut self, request: &Request) -> bool {
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
    fn release_cached(&mut self) {
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
    fn collect_garbage(&mut self) {
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
