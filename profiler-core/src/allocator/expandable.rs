//! Expandable segments: one reserved address range per lane that pages are mapped into
//! (`find_expandable_block`, `map_block`, `try_allocate_expandable_block`, `unmap_block`).
//!
//! ```text
//!  base                                                        base + 9/8 of the device
//!   │ allocated │ free │ allocated │ free (rest of page) │ unmapped ……………………… │
//!   └── page ──┴── page ──┴── page ──┴─────── page ──────┘
//! ```

use super::block::{Block, BlockId, Use};
use super::driver::{Driver, Piece};
use super::lane::Place;
use super::model::{Allocator, Request, Reservation};
use crate::snapshot::SegmentKind;

impl<D: Driver> Allocator<D> {
    /// An unlisted block of at least the request's size from a growing segment. When the driver
    /// runs out half way, the pages mapped until then stay as free memory.
    pub(super) fn take_expandable(&mut self, request: &Request) -> Option<BlockId> {
        let mut candidate = match self.find_expandable(request) {
            Some(candidate) => candidate,
            None => self.reserve(request),
        };
        let block = self.blocks.get(candidate);
        if block.state == Use::Unmapped {
            let size = block.size.min(request.rounded);
            if !self.map_pages(candidate, size, request.pool, request.kind) {
                return None;
            }
        }
        loop {
            let block = self.blocks.get(candidate);
            if block.size >= request.rounded {
                break;
            }
            // free ─▶ unmapped ─▶ …: mapping makes the two one block, whose id is `next`.
            let next = block.next.get()?;
            let space = self.blocks.get(next);
            if space.state != Use::Unmapped {
                return None;
            }
            let size = space.size.min(request.rounded - block.size);
            if !self.map_pages(next, size, request.pool, request.kind) {
                return None;
            }
            candidate = next;
        }
        let block = self.blocks.get(candidate);
        if let Some(lane) = self.lanes.get_mut(block.lane as usize) {
            lane.remove(&Place::of(&block, candidate));
        }
        Some(candidate)
    }

    /// The lowest place where free and unmapped blocks together have room.
    fn find_expandable(&self, request: &Request) -> Option<BlockId> {
        let lane = self.lanes.get(request.lane as usize)?;
        for &unmapped in lane.unmapped.values() {
            let mut start = unmapped;
            let previous = self.blocks.get(unmapped).previous;
            if previous != BlockId::NONE && self.is_allocatable(previous) {
                start = previous;
            }
            let mut room = 0_u64;
            let mut at = start;
            while room < request.rounded && at != BlockId::NONE && self.is_allocatable(at) {
                let block = self.blocks.get(at);
                room = room.saturating_add(block.size);
                at = block.next;
            }
            if room >= request.rounded {
                return Some(start);
            }
        }
        None
    }

    fn is_allocatable(&self, id: BlockId) -> bool {
        matches!(self.blocks.get(id).state, Use::Free | Use::Unmapped)
    }

    /// A new reservation as one unmapped block.
    fn reserve(&mut self, request: &Request) -> BlockId {
        let page = self.rules.page_size(request.kind);
        let piece = self.driver.reserve(page);
        self.add_reservation(piece, page, request.lane)
    }

    /// Registers address space as one unmapped block of `lane`.
    pub(super) fn add_reservation(&mut self, piece: Piece, page: u64, lane: u32) -> BlockId {
        let reservation = self.reservations.len() as u32;
        self.reservations.push(Reservation { piece, page });
        let age = self.next_age();
        let id = self.blocks.add(Block {
            address: piece.address,
            size: piece.size,
            requested: 0,
            previous: BlockId::NONE,
            next: BlockId::NONE,
            lane,
            reservation,
            freed_at_search: 0,
            age,
            state: Use::Unmapped,
        });
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.unmapped.insert(piece.address, id);
        }
        id
    }

    /// Maps whole pages from the start of an unmapped block to cover `size` bytes, and lists the
    /// result merged with the free block before it (`map_block`).
    pub(super) fn map_pages(
        &mut self,
        id: BlockId,
        size: u64,
        pool: u32,
        kind: SegmentKind,
    ) -> bool {
        let block = self.blocks.get(id);
        let Some(reservation) = self.reservations.get(block.reservation as usize) else {
            return false;
        };
        let page = reservation.page.max(1);
        let base = reservation.piece.address;
        let offset = block.address.saturating_sub(base);
        let mapped = offset
            .saturating_add(size)
            .checked_next_multiple_of(page)
            .map_or(size, |end| end - offset)
            .min(block.size);
        let piece = Piece {
            address: block.address,
            size: mapped,
        };
        if !self.driver.map(piece) {
            return false;
        }
        if let Some(lane) = self.lanes.get_mut(block.lane as usize) {
            lane.unmapped.remove(&block.address);
        }
        if mapped < block.size {
            let rest = self.blocks.add(Block {
                address: block.address.saturating_add(mapped),
                size: block.size - mapped,
                previous: id,
                ..block
            });
            if let Some(next) = block.next.get() {
                self.blocks.change(next, |block| block.previous = rest);
            }
            self.blocks.change(id, |block| {
                block.size = mapped;
                block.next = rest;
            });
            if let Some(lane) = self.lanes.get_mut(block.lane as usize) {
                lane.unmapped
                    .insert(block.address.saturating_add(mapped), rest);
            }
        }
        for neighbour in [block.previous, self.blocks.get(id).next] {
            self.merge(id, neighbour, Use::Free);
        }
        self.list(id, pool, kind);
        self.counters.reserved.add(mapped);
        self.counters.device_allocs += 1;
        true
    }

    /// Gives back the whole pages inside a free block; what sticks out at its ends stays free.
    /// A reservation left without pages is given back too.
    pub(super) fn unmap_pages(&mut self, id: BlockId, pool: u32, kind: SegmentKind) {
        let block = self.blocks.get(id);
        let Some(&reservation) = self.reservations.get(block.reservation as usize) else {
            return;
        };
        if block.state != Use::Free {
            return;
        }
        let page = reservation.page.max(1);
        let base = reservation.piece.address;
        let offset = block.address.saturating_sub(base);
        let begin = offset.div_ceil(page).saturating_mul(page);
        let end = offset.saturating_add(block.size) / page * page;
        if begin >= end {
            return;
        }
        let before = begin - offset;
        let after = offset.saturating_add(block.size) - end;
        if let Some(lane) = self.lanes.get_mut(block.lane as usize) {
            lane.remove(&Place::of(&block, id));
        }
        if before > 0 {
            let front = self.blocks.add(Block {
                size: before,
                next: id,
                ..block
            });
            if let Some(previous) = block.previous.get() {
                self.blocks.change(previous, |block| block.next = front);
            }
            self.blocks.change(id, |block| block.previous = front);
            self.list(front, pool, kind);
        }
        if after > 0 {
            let back = self.blocks.add(Block {
                address: base.saturating_add(end),
                size: after,
                previous: id,
                ..block
            });
            if let Some(next) = block.next.get() {
                self.blocks.change(next, |block| block.previous = back);
            }
            self.blocks.change(id, |block| block.next = back);
            self.list(back, pool, kind);
        }
        let piece = Piece {
            address: base.saturating_add(begin),
            size: end - begin,
        };
        self.blocks.change(id, |block| {
            block.address = piece.address;
            block.size = piece.size;
            block.state = Use::Unmapped;
        });
        self.driver.unmap(piece);
        self.counters.reserved.subtract(piece.size);
        self.counters.device_frees += 1;
        let whole = self.blocks.get(id);
        for neighbour in [whole.previous, whole.next] {
            self.merge(id, neighbour, Use::Unmapped);
        }
        let whole = self.blocks.get(id);
        if whole.is_split() {
            if let Some(lane) = self.lanes.get_mut(whole.lane as usize) {
                lane.unmapped.insert(whole.address, id);
            }
        } else {
            self.blocks.remove(id);
            self.driver.unreserve(reservation.piece);
        }
    }
}
