//! Segments one after another, wrapped into rows like text.
//!
//! ```text
//!   row 0  [ segment a            | gap |  a   ][ segment b  …
//!   row 1  … b   |  gap        ][ segment c                 ]
//! ```
//!
//! Every row has the same number of bytes and every byte the same width, so areas compare. A
//! segment that is longer than a row goes on in the next.

use profiler_core::replay::{BlockUse, DeviceReplay, MappedSegment, Moment, SegmentSpan};
use profiler_core::snapshot::{PoolId, StreamId};

/// Why a gap cannot serve just any request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreeKind {
    /// Between live blocks of a segment of the default stream and pool.
    #[default]
    Split,
    /// In a segment of another stream: only that stream's requests can use it.
    OtherStream,
    /// In a private pool: only requests of that pool can use it.
    PrivatePool,
    /// A whole segment: `empty_cache` would give it back.
    Whole,
}

impl FreeKind {
    /// In words.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Split => "live blocks in the same segment keep it from being returned",
            Self::OtherStream => "only requests on its own stream can use it",
            Self::PrivatePool => "only requests of its own memory pool can use it",
            Self::Whole => "the whole segment is free: the allocator can return it to the driver",
        }
    }
}

/// A block or gap in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Who uses it.
    pub used_by: BlockUse,
    /// Why it cannot be used, where it is free.
    pub free: FreeKind,
    /// Its segment.
    pub segment: SegmentSpan,
    /// Where it begins, counted in bytes from the first segment's start.
    pub offset: u64,
}

/// Bytes by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Gaps between live blocks.
    pub split_free: u64,
    /// Gaps of other streams.
    pub stream_free: u64,
    /// Gaps of private pools.
    pub pool_free: u64,
    /// Whole free segments.
    pub whole_free: u64,
    /// Blocks less what was requested, of those in use.
    pub rounding: u64,
    /// Blocks waiting for a stream.
    pub pending: u64,
}

/// All cells in order of their offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapLayout {
    /// Blocks and gaps; they cover everything.
    pub cells: Vec<Cell>,
    /// Bytes of all segments.
    pub total: u64,
    /// Bytes by what they are.
    pub sums: Sums,
}

impl MapLayout {
    /// The layout of `replay` at `moment`: by pool, then stream, then size class, then address.
    #[must_use]
    pub fn new(replay: &DeviceReplay, moment: Moment) -> Self {
        let mut segments = replay.segment_map_at(moment);
        segments.sort_by_key(|mapped| {
            let segment = &mapped.segment;
            (segment.pool, segment.stream, segment.kind, segment.address)
        });
        let mut layout = Self::default();
        for mapped in &segments {
            layout.add(replay, mapped);
        }
        layout
    }

    fn add(&mut self, replay: &DeviceReplay, mapped: &MappedSegment) {
        let segment = mapped.segment;
        let free = if mapped.is_whole_free() {
            FreeKind::Whole
        } else if segment.pool != PoolId::DEFAULT {
            FreeKind::PrivatePool
        } else if segment.stream != StreamId::DEFAULT {
            FreeKind::OtherStream
        } else {
            FreeKind::Split
        };
        for block in &mapped.blocks {
            let sum = match (block.used_by, free) {
                (BlockUse::Free, FreeKind::Split) => &mut self.sums.split_free,
                (BlockUse::Free, FreeKind::OtherStream) => &mut self.sums.stream_free,
                (BlockUse::Free, FreeKind::PrivatePool) => &mut self.sums.pool_free,
                (BlockUse::Free, FreeKind::Whole) => &mut self.sums.whole_free,
                (BlockUse::Pending(_), _) => &mut self.sums.pending,
                (BlockUse::Allocated(_), _) => &mut self.sums.rounding,
            };
            let bytes = match block.used_by {
                BlockUse::Allocated(id) => block
                    .size
                    .saturating_sub(replay.allocations.get(id).requested),
                _ => block.size,
            };
            *sum = sum.saturating_add(bytes);
            self.cells.push(Cell {
                address: block.address,
                size: block.size,
                used_by: block.used_by,
                free,
                segment,
                offset: self.total,
            });
            self.total = self.total.saturating_add(block.size);
        }
    }
}
