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
use super::driver::{Driver, Piece};
use super::lane::{Lane, LaneKey, Place};
use super::rounding::SizeRules;
use super::settings::Settings;
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
    pub(super) lane_of: BTreeMap<LaneKey, u32>,
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
    pub(super) fn counts_searches(&self) -> bool {
        self.settings.garbage_collection_threshold > 0.0
    }

    pub(super) fn searches_of(&self, pool: u32, kind: SegmentKind) -> u32 {
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
}
