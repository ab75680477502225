//! What stands behind the allocator: device memory with a capacity, or the recording.

/// A segment or range given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// What garbage collection does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// It is done.
    Done,
    /// Gives back the round.
    Round,
    /// Gives back these, and is done (a recording whose beginning is missing does not tell how
    /// old the first segments are, only which went).
    These(Vec<Piece>),
}

/// The device driver as the allocator sees it.
///
/// [`Device`] answers from a capacity. The replay of a recording answers from the recording, and
/// compares.
pub trait Driver {
    /// `cudaMalloc`: the address of `size` new bytes, None when there is no room.
    fn allocate(&mut self, size: u64) -> Option<u64>;

    /// `cudaFree`.
    fn free(&mut self, piece: Piece);

    /// `cuMemAddressReserve` of a new expandable segment with pages of `page` bytes: where it
    /// starts and its size, a multiple of `page`.
    fn reserve(&mut self, page: u64) -> Piece;

    /// `cuMemAddressFree`.
    fn unreserve(&mut self, piece: Piece);

    /// `cuMemCreate` and `cuMemMap` of whole pages; false, with nothing mapped, when there is no
    /// room for all of them.
    fn map(&mut self, piece: Piece) -> bool;

    /// `cuMemUnmap` of whole pages.
    fn unmap(&mut self, piece: Piece);

    /// Whether the memory limit lets a process that holds `held` bytes take `size` more.
    fn is_within_limit(&self, held: u64, size: u64) -> bool;

    /// What garbage collection gives back next, with `reclaimed` bytes given back before and
    /// `held` bytes held when it began: `round`, which is all idle segments of more than average
    /// age; nothing; or what the driver knows better.
    fn collect(&mut self, threshold: f64, held: u64, reclaimed: u64, round: &[Piece])
    -> Collection;

    /// Whether a private pool's unused memory may be given back (no graph uses it any more).
    fn is_freeable(&mut self, pool: u32) -> bool;
}

/// Memory of a given capacity, handed out at ever higher addresses.
#[derive(Clone, Debug)]
pub struct Device {
    capacity: u64,
    limit: Option<u64>,
    held: u64,
    next_address: u64,
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
            next_address: 1 << 44,
            freeable: Vec::new(),
        }
    }

    /// Counts memory held from the beginning, and keeps new addresses clear of it.
    pub fn hold(&mut self, piece: Piece) {
        self.held = self.held.saturating_add(Self::granular(piece.size));
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

    fn take_addresses(&mut self, size: u64) -> u64 {
        let address = self.next_address;
        // A gap keeps neighbours apart, as nothing merges across segments.
        self.next_address = address
            .saturating_add(Self::granular(size))
            .saturating_add(Self::GRANULARITY);
        address
    }
}

impl Driver for Device {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let held = self.held.checked_add(Self::granular(size))?;
        if held > self.capacity {
            return None;
        }
        self.held = held;
        Some(self.take_addresses(size))
    }

    fn free(&mut self, piece: Piece) {
        self.held = self.held.saturating_sub(Self::granular(piece.size));
    }

    fn reserve(&mut self, page: u64) -> Piece {
        // 9/8 of the device's memory (`find_expandable_block`); without a known capacity that of
        // a device no program fills.
        let capacity = self.capacity.min(1 << 40);
        let size = (capacity + capacity / 8)
            .max(1)
            .next_multiple_of(page.max(1));
        Piece {
            address: self.take_addresses(size),
            size,
        }
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
