//! The allocator's recorded events of one device, as columns.

use super::column::SparseColumn;
use super::{DeviceId, PoolId, StackId, StreamId, StringId};

/// What an event says happened.
///
/// The names are those of `TraceEntry::Action` in PyTorch's `c10/cuda/CUDACachingAllocator.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// A block was handed out. Size: requested bytes.
    Alloc,
    /// The program let go of a block. Size: requested bytes.
    FreeRequested,
    /// The block went back to the allocator (later than requested when another stream used it).
    FreeCompleted,
    /// A segment was taken from the driver (`cudaMalloc`). Size: segment bytes.
    SegmentAlloc,
    /// A segment was given back to the driver (`cudaFree`).
    SegmentFree,
    /// Pages were mapped into an expandable segment. Size: mapped bytes.
    SegmentMap,
    /// Pages were unmapped from an expandable segment.
    SegmentUnmap,
    /// A snapshot was taken. Size: the device's active bytes at that moment.
    Snapshot,
    /// An allocation failed. Size: rounded request; the address column holds `device_free`.
    Oom,
    /// A live allocation was annotated (PyTorch 2.14); the text is the event's user metadata.
    Annotate,
    /// `user_defined` of main builds between April and July 2024.
    UserDefined,
    /// An action this reader does not know; its name is kept ([`Events::action_name`]).
    Other,
}

impl Action {
    /// Every action with the name PyTorch writes, [`Action::Other`] excepted.
    pub const NAMES: [(Self, &'static str); 11] = [
        (Self::Alloc, "alloc"),
        (Self::FreeRequested, "free_requested"),
        (Self::FreeCompleted, "free_completed"),
        (Self::SegmentAlloc, "segment_alloc"),
        (Self::SegmentFree, "segment_free"),
        (Self::SegmentMap, "segment_map"),
        (Self::SegmentUnmap, "segment_unmap"),
        (Self::Snapshot, "snapshot"),
        (Self::Oom, "oom"),
        (Self::Annotate, "annotate"),
        (Self::UserDefined, "user_defined"),
    ];

    /// The action PyTorch writes as `name`; [`Action::Other`] if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Other, |(action, _)| *action)
    }

    /// The name PyTorch writes; `other` for [`Action::Other`].
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(action, _)| *action == self)
            .map_or("other", |(_, name)| name)
    }
}

/// The stand-in for "this event has no time" (PyTorch before 2.2 wrote none).
pub const NO_TIME: i64 = i64::MIN;

/// One event, gathered from the columns. Also what a reader fills and pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// Address of the block or segment; for [`Action::Oom`] the device's free bytes
    /// (`cudaMemGetInfo`). 0 when the file has neither.
    pub address: u64,
    /// Bytes; what they count depends on the action.
    pub size: u64,
    /// The CUDA stream.
    pub stream: StreamId,
    /// Microseconds since the Unix epoch, [`NO_TIME`] if not recorded. The order of events is
    /// authoritative, not this.
    pub time_us: i64,
    /// Call stack; empty if not recorded.
    pub stack: StackId,
    /// Memory pool (PyTorch 2.12); the default pool if not recorded
    /// ([`Events::has_pools`] tells).
    pub pool: PoolId,
    /// `user_metadata` (PyTorch 2.10), empty if unset. An object is kept as compact JSON text.
    pub user_metadata: StringId,
    /// `compile_context` (PyTorch 2.8); empty for none, PyTorch's literal `N/A` included.
    pub compile_context: StringId,
    /// `internal_metadata` (PyTorch 2.15), for example `mallocWithAddress`.
    pub internal_metadata: StringId,
    /// `forward_frames` (PyTorch 2.11, anomaly mode): the formatted lines joined by newlines.
    pub forward_frames: StringId,
    /// `category` of snapshots that `_memory_viz.profile_plot` made.
    pub category: StringId,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            action: Action::Other,
            address: 0,
            size: 0,
            stream: StreamId::DEFAULT,
            time_us: NO_TIME,
            stack: StackId::EMPTY,
            pool: PoolId::DEFAULT,
            user_metadata: StringId::EMPTY,
            compile_context: StringId::EMPTY,
            internal_metadata: StringId::EMPTY,
            forward_frames: StringId::EMPTY,
            category: StringId::EMPTY,
        }
    }
}

/// Events of one device in recorded order. Row numbers fit `u32`.
#[derive(Clone, Debug)]
pub struct Events {
    action: Vec<Action>,
    address: Vec<u64>,
    size: Vec<u64>,
    stream: SparseColumn<StreamId>,
    time_us: SparseColumn<i64>,
    stack: SparseColumn<StackId>,
    pool: SparseColumn<PoolId>,
    has_pools: bool,
    user_metadata: SparseColumn<StringId>,
    compile_context: SparseColumn<StringId>,
    internal_metadata: SparseColumn<StringId>,
    forward_frames: SparseColumn<StringId>,
    category: SparseColumn<StringId>,
    /// Names of [`Action::Other`] rows, sorted by row.
    other_names: Vec<(u32, StringId)>,
}

impl Default for Events {
    fn default() -> Self {
        let no_text = || SparseColumn::new(StringId::EMPTY);
        Self {
            action: Vec::new(),
            address: Vec::new(),
            size: Vec::new(),
            stream: SparseColumn::new(StreamId::DEFAULT),
            time_us: SparseColumn::new(NO_TIME),
            stack: SparseColumn::new(StackId::EMPTY),
            pool: SparseColumn::new(PoolId::DEFAULT),
            has_pools: false,
            user_metadata: no_text(),
            compile_context: no_text(),
            internal_metadata: no_text(),
            forward_frames: no_text(),
            category: no_text(),
            other_names: Vec::new(),
        }
    }
}

impl Events {
    /// The most events one device can have: rows are `u32` and `u32::MAX` is kept for "never".
    pub const MAX_LEN: usize = u32::MAX as usize - 1;

    /// Adds an event. Returns false, and adds nothing, past [`Self::MAX_LEN`].
    #[inline]
    pub fn push(&mut self, event: &Event) -> bool {
        if self.action.len() >= Self::MAX_LEN {
            return false;
        }
        self.action.push(event.action);
        self.address.push(event.address);
        self.size.push(event.size);
        self.stream.push(event.stream);
        self.time_us.push(event.time_us);
        self.stack.push(event.stack);
        self.pool.push(event.pool);
        self.user_metadata.push(event.user_metadata);
        self.compile_context.push(event.compile_context);
        self.internal_metadata.push(event.internal_metadata);
        self.forward_frames.push(event.forward_frames);
        self.category.push(event.category);
        true
    }

    /// Adds an event whose action is not known to this reader, keeping its name.
    pub fn push_other(&mut self, name: StringId, event: &Event) -> bool {
        let row = self.action.len() as u32;
        let pushed = self.push(&Event {
            action: Action::Other,
            ..*event
        });
        if pushed {
            self.other_names.push((row, name));
        }
        pushed
    }

    /// Adds the events of `other` from row `from` on. Nothing is added if that would be more than
    /// [`Self::MAX_LEN`].
    pub fn append(&mut self, other: &Self, from: usize) {
        let from = from.min(other.len());
        if other.len() - from > Self::MAX_LEN.saturating_sub(self.len()) {
            return;
        }
        let base = self.len();
        let first = other
            .other_names
            .partition_point(|&(row, _)| (row as usize) < from);
        let names = other.other_names.get(first..).unwrap_or(&[]).iter();
        self.other_names.extend(names.map(|&(row, name)| {
            let row = base + row as usize - from;
            (u32::try_from(row).unwrap_or(u32::MAX), name)
        }));
        self.action
            .extend_from_slice(other.action.get(from..).unwrap_or(&[]));
        self.address
            .extend_from_slice(other.address.get(from..).unwrap_or(&[]));
        self.size
            .extend_from_slice(other.size.get(from..).unwrap_or(&[]));
        self.stream.append(&other.stream, from);
        self.time_us.append(&other.time_us, from);
        self.stack.append(&other.stack, from);
        self.pool.append(&other.pool, from);
        self.has_pools |= other.has_pools;
        self.user_metadata.append(&other.user_metadata, from);
        self.compile_context.append(&other.compile_context, from);
        self.internal_metadata
            .append(&other.internal_metadata, from);
        self.forward_frames.append(&other.forward_frames, from);
        self.category.append(&other.category, from);
    }

    /// Makes room for `more` events, so that the columns need not be copied to grow. Without that
    /// much memory nothing is done: events then come in as they can.
    pub(crate) fn expect(&mut self, more: usize) {
        fn expect<T>(column: &mut Vec<T>, more: usize) {
            if column.capacity() - column.len() < more {
                column.try_reserve_exact(more).ok();
            }
        }
        expect(&mut self.action, more);
        expect(&mut self.address, more);
        expect(&mut self.size, more);
        self.stream.expect(more);
        self.time_us.expect(more);
        self.stack.expect(more);
        self.pool.expect(more);
    }

    /// How many events can be added before the columns have to grow.
    pub(crate) fn room(&self) -> usize {
        self.action.capacity() - self.action.len()
    }

    /// Takes every event out and keeps the memory for others.
    pub fn clear(&mut self) {
        let Self {
            action,
            address,
            size,
            stream,
            time_us,
            stack,
            pool,
            has_pools,
            user_metadata,
            compile_context,
            internal_metadata,
            forward_frames,
            category,
            other_names,
        } = self;
        action.clear();
        address.clear();
        size.clear();
        stream.clear();
        time_us.clear();
        stack.clear();
        pool.clear();
        *has_pools = false;
        let texts = [
            user_metadata,
            compile_context,
            internal_metadata,
            forward_frames,
            category,
        ];
        texts.into_iter().for_each(SparseColumn::clear);
        other_names.clear();
    }

    /// Says that this trace's events carry pool ids (PyTorch 2.12).
    pub fn set_has_pools(&mut self) {
        self.has_pools = true;
    }

    /// Whether events carry pool ids; if not, pools are known only from the final segments.
    #[must_use]
    pub fn has_pools(&self) -> bool {
        self.has_pools
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.action.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.action.is_empty()
    }

    /// The event at `row`; a default event past the end.
    #[must_use]
    pub fn get(&self, row: usize) -> Event {
        Event {
            action: self.action(row),
            address: self.address(row),
            size: self.size(row),
            stream: self.stream(row),
            time_us: self.time_us(row),
            stack: self.stack(row),
            pool: self.pool(row),
            user_metadata: self.user_metadata(row),
            compile_context: self.compile_context(row),
            internal_metadata: self.internal_metadata.get(row),
            forward_frames: self.forward_frames.get(row),
            category: self.category.get(row),
        }
    }

    /// What happened at `row`.
    #[inline]
    #[must_use]
    pub fn action(&self, row: usize) -> Action {
        self.action.get(row).copied().unwrap_or(Action::Other)
    }

    /// All actions in order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.action
    }

    /// The name of the action at `row` as the file has it, unknown actions included.
    #[must_use]
    pub fn action_name<'a>(&self, row: usize, strings: &'a super::StringTable) -> &'a str {
        let other = self
            .other_names
            .binary_search_by_key(&row, |&(row, _)| row as usize);
        match other {
            Ok(at) => strings.get(self.other_names[at].1),
            Err(_) => self.action(row).name(),
        }
    }

    /// Address at `row`, or the device's free bytes for an [`Action::Oom`].
    #[inline]
    #[must_use]
    pub fn address(&self, row: usize) -> u64 {
        self.address.get(row).copied().unwrap_or(0)
    }

    /// Bytes at `row`.
    #[inline]
    #[must_use]
    pub fn size(&self, row: usize) -> u64 {
        self.size.get(row).copied().unwrap_or(0)
    }

    /// Stream at `row`.
    #[inline]
    #[must_use]
    pub fn stream(&self, row: usize) -> StreamId {
        self.stream.get(row)
    }

    /// Time at `row` in microseconds since the Unix epoch, [`NO_TIME`] if not recorded.
    #[inline]
    #[must_use]
    pub fn time_us(&self, row: usize) -> i64 {
        self.time_us.get(row)
    }

    /// Whether any event has a time (PyTorch 2.2 and later).
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.time_us.is_stored()
    }

    /// Stack at `row`.
    #[inline]
    #[must_use]
    pub fn stack(&self, row: usize) -> StackId {
        self.stack.get(row)
    }

    /// Pool at `row`; the default pool when [`Self::has_pools`] is false.
    #[inline]
    #[must_use]
    pub fn pool(&self, row: usize) -> PoolId {
        self.pool.get(row)
    }

    /// `user_metadata` at `row`.
    #[inline]
    #[must_use]
    pub fn user_metadata(&self, row: usize) -> StringId {
        self.user_metadata.get(row)
    }

    /// `compile_context` at `row`, empty for none.
    #[inline]
    #[must_use]
    pub fn compile_context(&self, row: usize) -> StringId {
        self.compile_context.get(row)
    }

    /// `forward_frames` at `row` (anomaly mode): the traceback of the forward whose backward node
    /// ran, empty for none.
    #[inline]
    #[must_use]
    pub fn forward_frames(&self, row: usize) -> StringId {
        self.forward_frames.get(row)
    }

    /// Whether any event has `forward_frames`.
    #[must_use]
    pub fn has_forward_frames(&self) -> bool {
        self.forward_frames.is_stored()
    }

    /// Whether any event has a `compile_context`.
    #[must_use]
    pub fn has_compile_contexts(&self) -> bool {
        self.compile_context.is_stored()
    }

    /// `category` at `row` (snapshots made by `profile_plot`), empty for none.
    #[inline]
    #[must_use]
    pub fn category(&self, row: usize) -> StringId {
        self.category.get(row)
    }

    /// Sets the user metadata of `row`, as a recorder's sidecar tells it.
    pub fn set_user_metadata(&mut self, row: usize, text: StringId) {
        self.user_metadata.set(row, text);
    }

    /// Sets the category of `row`, as a recorder's sidecar tells it.
    pub fn set_category(&mut self, row: usize, name: StringId) {
        self.category.set(row, name);
    }

    /// Gives back the memory that growing left over.
    pub fn shrink_to_fit(&mut self) {
        self.action.shrink_to_fit();
        self.address.shrink_to_fit();
        self.size.shrink_to_fit();
        self.stream.shrink_to_fit();
        self.time_us.shrink_to_fit();
        self.stack.shrink_to_fit();
        self.pool.shrink_to_fit();
        self.user_metadata.shrink_to_fit();
        self.compile_context.shrink_to_fit();
        self.internal_metadata.shrink_to_fit();
        self.forward_frames.shrink_to_fit();
        self.category.shrink_to_fit();
    }
}

/// One device's recorded history (an element of `device_traces`, or `host_traces`).
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The device; [`DeviceId::HOST`] for `host_traces`.
    pub device: DeviceId,
    /// Its events, oldest first.
    pub events: Events,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::StringTable;

    #[test]
    fn names_go_both_ways() {
        for (action, name) in Action::NAMES {
            assert_eq!(Action::from_name(name), action);
            assert_eq!(action.name(), name);
        }
        assert_eq!(Action::from_name("workspace_snapshot"), Action::Other);
    }

    #[test]
    fn an_unknown_action_keeps_its_name() {
        let mut strings = StringTable::default();
        let name = strings.intern("defragment");
        let mut events = Events::default();
        events.push(&Event {
            action: Action::Alloc,
            size: 512,
            ..Event::default()
        });
        events.push_other(
            name,
            &Event {
                size: 7,
                ..Event::default()
            },
        );
        assert_eq!(events.action_name(0, &strings), "alloc");
        assert_eq!(events.action_name(1, &strings), "defragment");
        assert_eq!(events.get(1).size, 7);
        assert_eq!(events.get(99), Event::default());
        assert!(!events.has_times());
        let mut longer = events.clone();
        longer.append(&events, 1);
        assert_eq!(longer.len(), 3);
        assert_eq!(longer.action_name(2, &strings), "defragment");
        assert_eq!(longer.get(2), events.get(1));
    }
}
