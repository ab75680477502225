//! Allocations: every use of every address, with its lifetime.

use crate::snapshot::{PoolId, SegmentKind, SparseColumn, StackId, StreamId};

use super::{Moment, NEVER};

/// A row of one device's [`Allocations`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(pub u32);

impl AllocationId {
    /// The row this handle stands for.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How an allocation came into the replay, where that is not the plain case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its `alloc` event was recorded.
    #[default]
    Recorded,
    /// It was live before the first recorded event: found in the final state or by its free.
    BeforeRecording,
    /// It stands in the segments but the trace had already ended: PyTorch copies the trace
    /// before it walks the segments, and other threads allocate in between.
    AfterRecording,
}

/// One use of one address, gathered from the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// First byte.
    pub address: u64,
    /// Bytes the program asked for.
    pub requested: u64,
    /// Bytes of the block it was given: rounded up, and the whole free block where the allocator
    /// does not split. 0 until the layout is known.
    pub block_size: u64,
    /// First moment at which it was live; 0 if before recording.
    pub born: Moment,
    /// First moment at which the program had let go of it; [`NEVER`] if it did not.
    pub free_requested: Moment,
    /// First moment at which it was no longer active; [`NEVER`] if live at the end.
    pub died: Moment,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// The memory pool it is in.
    pub pool: PoolId,
    /// Size class of its segment.
    pub kind: SegmentKind,
    /// Where it was allocated; empty if not known.
    pub stack: StackId,
    /// How many allocations had this address before it (with the device, its identity).
    pub use_index: u32,
    /// Whether its `alloc` event was recorded.
    pub origin: Origin,
}

impl Allocation {
    /// The row of its `alloc` event, if recorded.
    #[must_use]
    pub fn alloc_event(&self) -> Option<u32> {
        match self.origin {
            Origin::Recorded => self.born.checked_sub(1),
            Origin::BeforeRecording | Origin::AfterRecording => None,
        }
    }

    /// The row of its `free_completed` event, if recorded.
    #[must_use]
    pub fn free_event(&self) -> Option<u32> {
        if self.died == NEVER {
            None
        } else {
            self.died.checked_sub(1)
        }
    }

    /// Whether it was active (allocated, or freed and still pending) at `moment`.
    #[must_use]
    pub fn is_live_at(&self, moment: Moment) -> bool {
        self.born <= moment && moment < self.died
    }

    /// Whether the program had let go of it at `moment` while another stream kept it active.
    #[must_use]
    pub fn is_pending_at(&self, moment: Moment) -> bool {
        self.is_live_at(moment) && self.free_requested <= moment
    }
}

/// Every allocation of one device, as columns, ordered by `born`.
#[derive(Clone, Debug, Default)]
pub struct Allocations {
    address: Vec<u64>,
    requested: Vec<u64>,
    block_size: Vec<u64>,
    born: Vec<Moment>,
    free_requested: Vec<Moment>,
    died: Vec<Moment>,
    stream: SparseColumn<StreamId>,
    pool: Vec<PoolId>,
    kind: Vec<SegmentKind>,
    stack: Vec<StackId>,
    use_index: Vec<u32>,
    /// By event row: the allocation it is about, [`NEVER`] for none.
    of_event: Vec<u32>,
    /// Rows below this were live before recording began.
    recorded_from: u32,
    /// Rows from this on are newer than the trace.
    recorded_to: u32,
}

impl Allocations {
    /// How many allocations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.address.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.address.is_empty()
    }

    /// Every handle, in order of `born`.
    pub fn ids(
        &self,
    ) -> impl DoubleEndedIterator<Item = AllocationId> + ExactSizeIterator + Clone + use<> {
        (0..self.address.len() as u32).map(AllocationId)
    }

    /// The allocation of `id`; an empty one, never live, for a handle of another table.
    #[must_use]
    pub fn get(&self, id: AllocationId) -> Allocation {
        let row = id.index();
        if row >= self.address.len() {
            return Allocation {
                address: 0,
                requested: 0,
                block_size: 0,
                born: NEVER,
                free_requested: NEVER,
                died: NEVER,
                stream: StreamId::DEFAULT,
                pool: PoolId::DEFAULT,
                kind: SegmentKind::Large,
                stack: StackId::EMPTY,
                use_index: 0,
                origin: Origin::AfterRecording,
            };
        }
        Allocation {
            address: self.address[row],
            requested: self.requested[row],
            block_size: self.block_size.get(row).copied().unwrap_or(0),
            born: self.born[row],
            free_requested: self.free_requested[row],
            died: self.died[row],
            stream: self.stream.get(row),
            pool: self.pool.get(row).copied().unwrap_or_default(),
            kind: self.kind.get(row).copied().unwrap_or_default(),
            stack: self.stack[row],
            use_index: self.use_index[row],
            origin: if id.0 < self.recorded_from {
                Origin::BeforeRecording
            } else if id.0 < self.recorded_to {
                Origin::Recorded
            } else {
                Origin::AfterRecording
            },
        }
    }

    /// First bytes by row.
    #[must_use]
    pub fn addresses(&self) -> &[u64] {
        &self.address
    }

    /// Requested bytes by row.
    #[must_use]
    pub fn requested(&self) -> &[u64] {
        &self.requested
    }

    /// Block sizes by row; empty until the layout is known.
    #[must_use]
    pub fn block_sizes(&self) -> &[u64] {
        &self.block_size
    }

    /// Birth moments by row, ascending.
    #[must_use]
    pub fn born(&self) -> &[Moment] {
        &self.born
    }

    /// Moments at which the program let go, by row, [`NEVER`] for those it did not.
    #[must_use]
    pub fn free_requested(&self) -> &[Moment] {
        &self.free_requested
    }

    /// Moments of death by row, [`NEVER`] for those live at the end.
    #[must_use]
    pub fn died(&self) -> &[Moment] {
        &self.died
    }

    /// Stacks by row.
    #[must_use]
    pub fn stacks(&self) -> &[StackId] {
        &self.stack
    }

    /// The allocation that the event at `row` makes or frees; None for events about segments.
    #[inline]
    #[must_use]
    pub fn of_event(&self, row: usize) -> Option<AllocationId> {
        self.of_event
            .get(row)
            .copied()
            .filter(|&id| id != NEVER)
            .map(AllocationId)
    }

    /// The rows born at or before `moment`: a prefix, since rows are ordered by birth.
    #[must_use]
    pub fn born_by(&self, moment: Moment) -> usize {
        self.born.partition_point(|&born| born <= moment)
    }

    /// Those live at `moment`, in order of `born`.
    #[must_use]
    pub fn live_at(&self, moment: Moment) -> Vec<AllocationId> {
        let born_by = self.born_by(moment);
        let died = self.died.get(..born_by).unwrap_or(&[]);
        let live = died.iter().enumerate().filter(|&(_, &died)| moment < died);
        live.map(|(row, _)| AllocationId(row as u32)).collect()
    }

    /// Whether the `alloc` event of every one was recorded.
    pub(super) fn are_all_recorded(&self) -> bool {
        self.recorded_from == 0 && self.recorded_to as usize == self.len()
    }

    /// Puts what the layout found in place: block sizes, pools and size classes by row.
    pub(super) fn set_layout(
        &mut self,
        block_size: Vec<u64>,
        pool: Vec<PoolId>,
        kind: Vec<SegmentKind>,
    ) {
        self.block_size = block_size;
        self.pool = pool;
        self.kind = kind;
    }

    /// Adds `row`, born no earlier than the last.
    #[inline]
    pub(super) fn push(&mut self, row: &Row) {
        self.address.push(row.address);
        self.requested.push(row.requested);
        self.born.push(row.born);
        self.free_requested.push(row.free_requested);
        self.died.push(row.died);
        self.stream.push(row.stream);
        self.stack.push(row.stack);
        self.use_index.push(row.use_index);
    }

    /// Lets the program let go of `row` at `moment`, unless it has before.
    #[inline]
    pub(super) fn request_free(&mut self, row: usize, moment: Moment) {
        if let Some(known) = self.free_requested.get_mut(row) {
            *known = (*known).min(moment);
        }
    }

    /// Lets `row` die at `moment`.
    #[inline]
    pub(super) fn end(&mut self, row: usize, moment: Moment) {
        self.request_free(row, moment);
        self.die(row, moment);
    }

    /// Sets when `row` died, and nothing else.
    #[inline]
    pub(super) fn die(&mut self, row: usize, moment: Moment) {
        if let Some(died) = self.died.get_mut(row) {
            *died = moment;
        }
    }

    /// Gives `row` the stack `stack` if it has none.
    pub(super) fn set_missing_stack(&mut self, row: usize, stack: StackId) {
        if let Some(known) = self.stack.get_mut(row).filter(|known| known.is_empty()) {
            *known = stack;
        }
    }

    /// Makes this table of recorded allocations the whole: with those from `before` recording and
    /// from `after` it, each ordered by birth, and the allocation of each event.
    pub(super) fn complete(&mut self, before: &[Row], after: &[Row], of_event: Vec<u32>) {
        self.recorded_from = before.len() as u32;
        self.recorded_to = (before.len() + self.len()) as u32;
        self.of_event = of_event;
        if !before.is_empty() {
            let rows = before.iter();
            self.address
                .splice(0..0, rows.clone().map(|row| row.address));
            self.requested
                .splice(0..0, rows.clone().map(|row| row.requested));
            self.born.splice(0..0, rows.clone().map(|row| row.born));
            self.free_requested
                .splice(0..0, rows.clone().map(|row| row.free_requested));
            self.died.splice(0..0, rows.clone().map(|row| row.died));
            self.stream.prepend(rows.clone().map(|row| row.stream));
            self.stack.splice(0..0, rows.clone().map(|row| row.stack));
            self.use_index.splice(0..0, rows.map(|row| row.use_index));
        }
        for row in after {
            self.push(row);
        }
        self.address.shrink_to_fit();
        self.requested.shrink_to_fit();
        self.born.shrink_to_fit();
        self.free_requested.shrink_to_fit();
        self.died.shrink_to_fit();
        self.stream.shrink_to_fit();
        self.stack.shrink_to_fit();
        self.use_index.shrink_to_fit();
    }
}

/// An allocation while lifetimes are being found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) address: u64,
    pub(super) requested: u64,
    pub(super) born: Moment,
    pub(super) free_requested: Moment,
    pub(super) died: Moment,
    pub(super) stream: StreamId,
    pub(super) stack: StackId,
    pub(super) use_index: u32,
}
