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
/// [`Device`](super::Device) answers from a capacity. The replay of a recording answers from the recording, and
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
