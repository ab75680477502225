//! Blocks: the pieces a segment is divided into, kept in one slab.

/// A row of the allocator's table of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub(super) u32);

impl BlockId {
    /// "No block".
    pub(super) const NONE: Self = Self(u32::MAX);

    /// The block, unless it is [`Self::NONE`].
    #[inline]
    pub(super) fn get(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What a block is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Handed out.
    Allocated,
    /// Let go of by the program, still waiting for another stream.
    Pending,
    /// In its lane's free set.
    Free,
    /// Address space of an expandable segment without memory behind it.
    Unmapped,
    /// An unused row.
    Vacant,
}

/// "This block is not part of an expandable segment" for [`Block::reservation`].
pub(super) const NOT_EXPANDABLE: u32 = u32::MAX;

/// One block. 56 bytes; a free one has another 24 in its lane's free set.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes the program asked for, while it is allocated or pending.
    pub requested: u64,
    /// The block before it in the same segment.
    pub(super) previous: BlockId,
    /// The block after it in the same segment.
    pub(super) next: BlockId,
    /// The (pool, kind, stream) it belongs to.
    pub(super) lane: u32,
    /// The reservation it lies in, or [`NOT_EXPANDABLE`].
    pub(super) reservation: u32,
    /// The pool's search count when it became free (garbage collection's clock).
    pub(super) freed_at_search: u32,
    /// When its segment was made, as a rank, where that decides between blocks of equal size
    /// ([`TieBreak::SegmentAge`](super::TieBreak::SegmentAge)); else 0.
    pub(super) age: u32,
    /// What it is doing.
    pub state: Use,
}

impl Block {
    /// Whether it is part of an expandable segment.
    #[inline]
    #[must_use]
    pub fn is_expandable(&self) -> bool {
        self.reservation != NOT_EXPANDABLE
    }

    /// Whether its segment has other blocks (`is_split`).
    #[inline]
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.previous != BlockId::NONE || self.next != BlockId::NONE
    }

    /// One past the last byte.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// All blocks of one device; freed rows are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    rows: Vec<Block>,
    vacant: Vec<BlockId>,
}

/// What a handle of another slab reads as.
const NOWHERE: Block = Block {
    address: 0,
    size: 0,
    requested: 0,
    previous: BlockId::NONE,
    next: BlockId::NONE,
    lane: u32::MAX,
    reservation: NOT_EXPANDABLE,
    freed_at_search: 0,
    age: 0,
    state: Use::Vacant,
};

impl Blocks {
    pub(super) fn add(&mut self, block: Block) -> BlockId {
        if let Some(id) = self.vacant.pop() {
            if let Some(row) = self.rows.get_mut(id.0 as usize) {
                *row = block;
            }
            return id;
        }
        let id = BlockId(self.rows.len() as u32);
        self.rows.push(block);
        id
    }

    pub(super) fn remove(&mut self, id: BlockId) {
        if let Some(row) = self.rows.get_mut(id.0 as usize)
            && row.state != Use::Vacant
        {
            *row = NOWHERE;
            self.vacant.push(id);
        }
    }

    /// The block; an empty vacant one for a handle that is none of these.
    #[inline]
    pub(super) fn get(&self, id: BlockId) -> Block {
        self.rows.get(id.0 as usize).copied().unwrap_or(NOWHERE)
    }

    /// Changes a block; does nothing for a handle that is none of these.
    #[inline]
    pub(super) fn change(&mut self, id: BlockId, change: impl FnOnce(&mut Block)) {
        if let Some(row) = self.rows.get_mut(id.0 as usize) {
            change(row);
        }
    }

    /// Every block in use, free or unmapped, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BlockId, &Block)> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, block)| block.state != Use::Vacant)
            .map(|(row, block)| (BlockId(row as u32), block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_block_fits_64_bytes() {
        assert_eq!(size_of::<Block>(), 56);
    }
}
