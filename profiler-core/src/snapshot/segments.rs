//! The allocator's state when the snapshot was taken: segments and the blocks in them.

use std::ops::Range;

use super::{DeviceId, PoolId, StackId, StreamId};

/// The size class of a segment's pool (`segment_type`).
///
/// Requests of up to 1 MiB after rounding live in small segments (`kSmallSize`,
/// `c10/core/AllocatorConfig.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// For rounded requests of up to 1 MiB.
    Small,
    /// For everything above.
    #[default]
    Large,
}

impl SegmentKind {
    /// `small` or `large`, as PyTorch writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// Whether a block is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockState {
    /// In use by the program.
    Allocated,
    /// Freed by the program, still waiting for another stream (`active_pending_free`; the
    /// docstrings call it `active_awaiting_free`).
    PendingFree,
    /// Free for reuse.
    #[default]
    Inactive,
}

impl BlockState {
    /// Whether the block counts as active: allocated or pending.
    #[must_use]
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Inactive)
    }
}

/// A contiguous piece of a segment: one allocation, or one gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// First byte. Accumulated from the segment's start where the file has none (before 2.1).
    pub address: u64,
    /// Bytes, as rounded and split by the allocator.
    pub size: u64,
    /// Bytes the program asked for: `requested_size`, else `history[0].real_size`, else `size`
    /// (the rule of `torch/cuda/_memory_viz.py`). Stale for inactive blocks: never sum it there.
    pub requested_size: u64,
    /// In use, pending or free.
    pub state: BlockState,
    /// Where it was allocated: `frames`, else `history[0].frames`.
    pub stack: StackId,
}

impl Block {
    /// One past the last byte, saturating.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// One piece of memory taken from the driver, or one contiguous mapped run of an expandable
/// segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The device it is on.
    pub device: DeviceId,
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub total_size: u64,
    /// What the file says of its allocated bytes, if it says.
    pub allocated_size: Option<u64>,
    /// What the file says of its active bytes, if it says.
    pub active_size: Option<u64>,
    /// What the file says of its requested bytes (of active blocks), if it says.
    pub requested_size: Option<u64>,
    /// The stream its blocks belong to.
    pub stream: StreamId,
    /// Small or large.
    pub kind: SegmentKind,
    /// The memory pool; the default one before PyTorch 2.1.
    pub pool: PoolId,
    /// Whether it is a mapped run of an expandable segment.
    pub is_expandable: bool,
    /// Who needed it.
    pub stack: StackId,
    /// Its blocks in [`Segments::blocks`], in address order.
    pub blocks: Range<u32>,
}

impl Segment {
    /// One past the last byte, saturating.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.total_size)
    }
}

/// All segments of all devices, and all their blocks.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    segments: Vec<Segment>,
    blocks: Vec<Block>,
}

impl Segments {
    /// Adds a segment with its blocks; `segment.blocks` is set here.
    ///
    /// Past `u32::MAX` blocks in all, the blocks that do not fit are left out and false is
    /// returned.
    pub fn push(&mut self, mut segment: Segment, blocks: &[Block]) -> bool {
        let start = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let room = u32::MAX as usize - start as usize;
        let fitting = &blocks[..blocks.len().min(room)];
        self.blocks.extend_from_slice(fitting);
        segment.blocks = start..start + fitting.len() as u32;
        self.segments.push(segment);
        fitting.len() == blocks.len()
    }

    /// Every segment in file order.
    #[must_use]
    pub fn all(&self) -> &[Segment] {
        &self.segments
    }

    /// The segments of one device, in file order.
    pub fn of_device(&self, device: DeviceId) -> impl Iterator<Item = &Segment> {
        self.segments
            .iter()
            .filter(move |segment| segment.device == device)
    }

    /// The blocks of `segment`, in address order.
    #[must_use]
    pub fn blocks(&self, segment: &Segment) -> &[Block] {
        let range = segment.blocks.start as usize..segment.blocks.end as usize;
        self.blocks.get(range).unwrap_or(&[])
    }

    /// How many blocks there are in all.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }
}
