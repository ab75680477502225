//! A device of a given capacity, to simulate on.

use std::collections::{BTreeMap, VecDeque};

use super::driver::{Collection, Driver, Piece};

/// Memory of a given capacity, handed out where a recording has it, else at the lowest free
/// address.
///
/// Real drivers choose addresses as they like. The allocator looks at them to choose between free
/// blocks of equal size ([`TieBreak::Address`](super::TieBreak::Address)), so under the recorded
/// settings nothing is assumed, and under others what is assumed shows now and then: on an H200 in
/// 8 of 140 peaks, by 7 % at most (`benches/what-if.md`).
#[derive(Clone, Debug)]
pub struct Device {
    capacity: u64,
    limit: Option<u64>,
    held: u64,
    /// Addresses given back, below `next_address`, by start.
    gaps: BTreeMap<u64, u64>,
    next_address: u64,
    /// What is held, by start.
    pieces: BTreeMap<u64, u64>,
    /// Where a recording's driver put segments, in order, by size; none of them used yet.
    recorded: BTreeMap<u64, VecDeque<u64>>,
    freeable: Vec<u32>,
}

impl Device {
    /// Granularity of addresses and of what a segment takes from the capacity: 2 MiB, the page
    /// size of NVIDIA's driver.
    pub const GRANULARITY: u64 = 2 << 20;

    /// A device with `capacity` bytes for this process's allocator. `limit` is what
    /// `set_per_process_memory_fraction` allows, in bytes.
    #[must_use]
    pub fn new(capacity: u64, limit: Option<u64>) -> Self {
        Self {
            capacity,
            limit,
            held: 0,
            gaps: BTreeMap::new(),
            next_address: 1 << 40,
            pieces: BTreeMap::new(),
            recorded: BTreeMap::new(),
            freeable: Vec::new(),
        }
    }

    /// Counts memory held from the beginning, and keeps new addresses clear of it.
    pub fn hold(&mut self, piece: Piece) {
        self.held = self.held.saturating_add(Self::granular(piece.size));
        self.pieces.insert(piece.address, piece.size);
        self.keep_clear_of(piece);
    }

    /// New segments come where a recording's driver put those of the same size, in that order,
    /// as long as there is room.
    pub fn follow(&mut self, segments: &[Piece]) {
        for &segment in segments {
            let of_size = self.recorded.entry(segment.size).or_default();
            of_size.push_back(segment.address);
            self.keep_clear_of(segment);
        }
    }

    fn keep_clear_of(&mut self, piece: Piece) {
        let end = piece.address.saturating_add(piece.size);
        self.next_address = self.next_address.max(Self::granular(end));
    }

    /// Says that no graph uses `pool` any more.
    pub fn set_freeable(&mut self, pool: u32) {
        if !self.freeable.contains(&pool) {
            self.freeable.push(pool);
        }
    }

    /// Bytes not held.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.capacity.saturating_sub(self.held)
    }

    fn granular(size: u64) -> u64 {
        size.checked_next_multiple_of(Self::GRANULARITY)
            .unwrap_or(u64::MAX)
    }

    /// Where the recording has the next segment of this size, if nothing is there now.
    fn take_recorded(&mut self, size: u64) -> Option<u64> {
        let of_size = self.recorded.get_mut(&size)?;
        while let Some(address) = of_size.pop_front() {
            let end = address.saturating_add(size);
            let before = self.pieces.range(..end).next_back();
            if before.is_none_or(|(&start, &size)| start.saturating_add(size) <= address) {
                self.close_gaps(address, end);
                return Some(address);
            }
        }
        None
    }

    /// Nothing else comes between `start` and `end` until it is given back.
    fn close_gaps(&mut self, start: u64, end: u64) {
        let overlapping = |gap: &(u64, u64)| gap.0.saturating_add(gap.1) > start;
        let known = self.gaps.range(..end).rev().map(|(&at, &size)| (at, size));
        let known: Vec<_> = known.take_while(overlapping).collect();
        for (at, size) in known {
            self.gaps.remove(&at);
            if at < start {
                self.gaps.insert(at, start - at);
            }
            let after = at.saturating_add(size);
            if after > end {
                self.gaps.insert(end, after - end);
            }
        }
    }

    fn take_addresses(&mut self, size: u64) -> u64 {
        if let Some(address) = self.take_recorded(size) {
            return address;
        }
        let size = Self::granular(size);
        let fitting = self.gaps.iter().find(|&(_, &gap)| gap >= size);
        if let Some((&address, &gap)) = fitting {
            self.gaps.remove(&address);
            if gap > size {
                self.gaps.insert(address.saturating_add(size), gap - size);
            }
            return address;
        }
        let address = self.next_address;
        self.next_address = address.saturating_add(size);
        address
    }

    fn give_addresses(&mut self, piece: Piece) {
        let mut start = piece.address;
        let mut size = Self::granular(piece.size);
        if let Some((&before, &gap)) = self.gaps.range(..start).next_back()
            && before.saturating_add(gap) == start
        {
            self.gaps.remove(&before);
            start = before;
            size = size.saturating_add(gap);
        }
        if let Some(gap) = self.gaps.remove(&start.saturating_add(size)) {
            size = size.saturating_add(gap);
        }
        self.gaps.insert(start, size);
    }
}

impl Driver for Device {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let held = self.held.checked_add(Self::granular(size))?;
        if held > self.capacity {
            return None;
        }
        self.held = held;
        let address = self.take_addresses(size);
        self.pieces.insert(address, size);
        Some(address)
    }

    fn free(&mut self, piece: Piece) {
        self.pieces.remove(&piece.address);
        self.held = self.held.saturating_sub(Self::granular(piece.size));
        self.give_addresses(piece);
    }

    fn reserve(&mut self, page: u64) -> Piece {
        // 9/8 of the device's memory (`find_expandable_block`); without a known capacity that of
        // a device no program fills.
        let capacity = self.capacity.min(1 << 40);
        let size = (capacity + capacity / 8)
            .max(1)
            .next_multiple_of(page.max(1));
        // Never from a gap, so that ranges of a lane stay in the order they were reserved.
        let address = self.next_address;
        self.next_address = address.saturating_add(Self::granular(size));
        Piece { address, size }
    }

    fn unreserve(&mut self, _piece: Piece) {}

    fn map(&mut self, piece: Piece) -> bool {
        match self.held.checked_add(piece.size) {
            Some(held) if held <= self.capacity => {
                self.held = held;
                true
            }
            _ => false,
        }
    }

    fn unmap(&mut self, piece: Piece) {
        self.held = self.held.saturating_sub(piece.size);
    }

    fn is_within_limit(&self, held: u64, size: u64) -> bool {
        self.limit
            .is_none_or(|limit| held.saturating_add(size) <= limit)
    }

    fn collect(
        &mut self,
        threshold: f64,
        held: u64,
        reclaimed: u64,
        _round: &[Piece],
    ) -> Collection {
        let Some(limit) = self.limit else {
            return Collection::Done;
        };
        // As PyTorch computes it, in doubles.
        let bound = (threshold * limit as f64) as u64;
        if held > bound && reclaimed < held - bound {
            Collection::Round
        } else {
            Collection::Done
        }
    }

    fn is_freeable(&mut self, pool: u32) -> bool {
        self.freeable.contains(&pool)
    }
}
