//! Free blocks of one pool, size class and stream, in the order the allocator searches them.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, BlockId};
use crate::snapshot::SegmentKind;

/// Which blocks may serve which requests: never across pools, size classes or streams.
///
/// The order is PyTorch's: within a pool, by stream pointer as an unsigned number
/// (`BlockComparatorSize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// The memory pool's number in the program; 0 is the default pool.
    pub pool: u32,
    /// Small or large.
    pub kind: SegmentKind,
    /// The stream's pointer.
    pub stream: u64,
}

/// A free block's place in the order: by size, then its segment's rank, then address
/// (`BlockComparatorSize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) size: u64,
    pub(super) age: u32,
    pub(super) address: u64,
    pub(super) block: BlockId,
}

impl Place {
    pub(super) fn of(block: &Block, id: BlockId) -> Self {
        Self {
            size: block.size,
            age: block.age,
            address: block.address,
            block: id,
        }
    }

    fn least(size: u64) -> Self {
        Self {
            size,
            age: 0,
            address: 0,
            block: BlockId(0),
        }
    }
}

/// Free and unmapped blocks of one [`LaneKey`].
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    free: BTreeSet<Place>,
    /// Unmapped blocks of expandable segments by address.
    pub(super) unmapped: BTreeMap<u64, BlockId>,
}

impl Lane {
    pub(super) fn new(key: LaneKey) -> Self {
        Self {
            key,
            free: BTreeSet::new(),
            unmapped: BTreeMap::new(),
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, place: Place) {
        self.free.insert(place);
    }

    #[inline]
    pub(super) fn remove(&mut self, place: &Place) {
        self.free.remove(place);
    }

    /// The smallest free block of at least `size` bytes, the first of equal ones.
    #[inline]
    pub(super) fn first_fit(&self, size: u64) -> Option<Place> {
        self.from(size).next()
    }

    /// Free blocks of at least `size` bytes in order.
    #[inline]
    pub(super) fn from(&self, size: u64) -> impl Iterator<Item = Place> {
        self.free.range(Place::least(size)..).copied()
    }

    /// The largest free block smaller than `size`, the highest of equal ones.
    pub(super) fn last_below(&self, size: u64) -> Option<Place> {
        self.free.range(..Place::least(size)).next_back().copied()
    }

    /// Every free block in order.
    pub(super) fn all(&self) -> impl Iterator<Item = Place> {
        self.free.iter().copied()
    }
}
