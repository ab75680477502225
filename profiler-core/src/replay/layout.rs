//! The block every allocation was given: its rounded size, and the slack it took with it.
//!
//! The trace has requested sizes only. What the allocator handed out follows from its rules
//! ([`SizeRules`]) and the gap at the recorded address: a large block whose remainder would be at
//! most 1 MiB is not split, and the remainder (*slack*) is hidden in it. Blocks live at the end
//! are in the segments with their size. Only blocks from before recording that are freed during
//! it have an unknown slack; see [`Layout::unsure_slack_bytes`].

mod ahead;
mod walk;

pub(super) use ahead::LayoutAhead;
pub(crate) use walk::{Change, walk};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::allocator::{Recording, SMALL_SIZE, SizeRules};
use crate::snapshot::{Action, DeviceId, Events, PoolId, SegmentKind, Snapshot};

use super::block_map::{BlockMap, Misplaced};
use super::segment_spans::SegmentSpan;
use super::{Allocation, AllocationId, Allocations, Curve, Moment, NEVER};

/// How well the trace could be laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Recorded allocations whose address is not the start of a gap that is large enough. Their
    /// block is taken to be the rounded request.
    pub misplaced: u64,
    /// Live blocks at the end whose size is not the one found here.
    pub wrong_at_end: u64,
    /// Segment events that contradict the blocks in them.
    pub contradicted_segments: u64,
    /// Blocks from before recording whose slack could not be told from a gap after them.
    pub unsure_blocks: u64,
    /// How many bytes at most are counted as slack for those while they are free space, or the
    /// other way round. Requested, pending and reserved bytes are not affected.
    pub unsure_slack_bytes: u64,
}

/// What the layout is found from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) events: &'a Events,
    pub(super) spans: &'a [SegmentSpan],
    pub(super) rules: &'a SizeRules,
}

/// Finds the block of every allocation of `device` and puts it into `allocations`. What was found
/// `ahead` is used if it holds; then the curve of allocated bytes is known too.
pub(super) fn find(
    snapshot: &Snapshot,
    device: DeviceId,
    source: Source<'_>,
    allocations: &mut Allocations,
    ahead: Option<LayoutAhead>,
) -> (Layout, Option<Curve>) {
    let final_sizes = final_block_sizes(snapshot, device);
    let found = ahead.and_then(|ahead| ahead.finish(source, allocations, &final_sizes));
    if let Some(found) = found {
        let (sizes, pools, kinds) = found.columns;
        allocations.set_layout(sizes, pools, kinds);
        return (Layout::default(), Some(found.allocated));
    }
    let mut finder = Finder {
        source,
        allocations,
        final_sizes,
        learned: HashMap::default(),
        solved: HashMap::default(),
        unsure: HashMap::default(),
        layout: Layout::default(),
        sizes: Vec::new(),
        pools: Vec::new(),
        kinds: Vec::new(),
    };
    finder.run();
    if finder.layout.unsure_blocks > 0 {
        finder.solved = solved_sizes(snapshot, device);
    }
    if !finder.learned.is_empty() || !finder.solved.is_empty() {
        // The first run learned where the slack of earlier blocks must end, or that the allocator
        // has to be replayed to tell; the second uses that from the start.
        finder.run();
    }
    let Finder {
        layout,
        sizes,
        pools,
        kinds,
        ..
    } = finder;
    allocations.set_layout(sizes, pools, kinds);
    (layout, None)
}

/// Sizes of the blocks that were live before recording, by address, under which the allocator's
/// own rules lead to every recorded address; empty if no such sizes were found.
fn solved_sizes(snapshot: &Snapshot, device: DeviceId) -> HashMap<u64, u64, FixedState> {
    let Some(recording) = Recording::if_exact(snapshot, device) else {
        return HashMap::default();
    };
    let blocks = recording.program.start.blocks.iter();
    blocks.map(|block| (block.address, block.size)).collect()
}

/// Sizes of the blocks that are active at the end, by address.
fn final_block_sizes(snapshot: &Snapshot, device: DeviceId) -> HashMap<u64, u64, FixedState> {
    let segments = snapshot.segments.of_device(device);
    let blocks = segments.flat_map(|segment| snapshot.segments.blocks(segment));
    let active = blocks.filter(|block| block.state.is_active());
    active.map(|block| (block.address, block.size)).collect()
}

fn is_segment_action(action: Action) -> bool {
    use Action::{SegmentAlloc, SegmentFree, SegmentMap, SegmentUnmap};
    matches!(
        action,
        SegmentAlloc | SegmentFree | SegmentMap | SegmentUnmap
    )
}

fn start_segments(map: &mut BlockMap, spans: &[SegmentSpan]) {
    for span in spans.iter().take_while(|span| span.born == 0) {
        map.add_segment(span);
    }
}

/// Applies the segment event at `row`; false if it contradicts the blocks.
fn apply_segment_event(
    map: &mut BlockMap,
    events: &Events,
    spans: &[SegmentSpan],
    row: usize,
) -> bool {
    let (address, size) = (events.address(row), events.size(row));
    let moment = row as Moment + 1;
    match events.action(row) {
        Action::SegmentFree => map.remove_segment(address),
        Action::SegmentUnmap => map.unmap(address, size),
        action => {
            // The span that begins here knows the pool and size class; its extent may be larger
            // than what was mapped.
            let Some(&span) = span_born_at(spans, moment) else {
                return false;
            };
            let added = SegmentSpan {
                address,
                size,
                ..span
            };
            if action == Action::SegmentMap {
                map.map(&added)
            } else {
                map.add_segment(&added)
            }
        }
    }
}

/// Finds block sizes in runs over the events.
struct Finder<'a> {
    source: Source<'a>,
    allocations: &'a Allocations,
    final_sizes: HashMap<u64, u64, FixedState>,
    /// Sizes of blocks from before recording that a later event proved.
    learned: HashMap<AllocationId, u64, FixedState>,
    /// Sizes of blocks from before recording that make a replay of the allocator exact.
    solved: HashMap<u64, u64, FixedState>,
    /// Blocks from before recording with a possible slack that nothing has proved yet, with the
    /// bytes in question.
    unsure: HashMap<AllocationId, u64, FixedState>,
    layout: Layout,
    sizes: Vec<u64>,
    pools: Vec<PoolId>,
    kinds: Vec<SegmentKind>,
}

impl Finder<'_> {
    fn run(&mut self) {
        let Source { events, spans, .. } = self.source;
        let len = self.allocations.len();
        self.layout = Layout::default();
        self.unsure.clear();
        self.sizes = vec![0; len];
        self.pools = vec![PoolId::DEFAULT; len];
        self.kinds = vec![SegmentKind::Large; len];
        let mut map = BlockMap::new(events.len());
        start_segments(&mut map, spans);
        self.start_blocks(&mut map);
        for row in 0..events.len() {
            match (events.action(row), self.allocations.of_event(row)) {
                (Action::Alloc, Some(id)) => self.born(&mut map, row, id),
                (Action::FreeCompleted, Some(id)) => {
                    map.free(id, events.address(row));
                }
                (action, _) if is_segment_action(action) => {
                    let agrees = apply_segment_event(&mut map, events, spans, row);
                    self.layout.contradicted_segments += u64::from(!agrees);
                }
                _ => {}
            }
        }
        self.after_the_end();
        self.layout.unsure_blocks = self.unsure.len() as u64;
        let unsure_bytes = self.allocations.ids().filter_map(|id| self.unsure.get(&id));
        self.layout.unsure_slack_bytes = unsure_bytes.copied().fold(0, u64::saturating_add);
    }

    /// Puts the blocks from before recording in place.
    fn start_blocks(&mut self, map: &mut BlockMap) {
        let rules = self.source.rules;
        let count = self.allocations.born_by(0);
        for row in 0..count {
            let id = AllocationId(row as u32);
            let block = self.allocations.get(id);
            let span = span_at_start(self.source.spans, block.address);
            if let Some(span) = span {
                (self.kinds[row], self.pools[row]) = (span.kind, span.pool);
            }
            let rounded = rules.round_size(block.requested);
            self.sizes[row] = self
                .exact_size(block.address, block.died)
                .unwrap_or(rounded);
            if let (None, Some(span)) = (self.exact_size(block.address, block.died), span) {
                let next = (row + 1 < count)
                    .then(|| self.allocations.get(AllocationId(row as u32 + 1)).address);
                let limit = next.unwrap_or(u64::MAX).min(span.end());
                let room = limit.saturating_sub(block.address);
                if let Some(&size) = self.learned.get(&id) {
                    self.sizes[row] = size;
                } else if room > rounded && !rules.should_split(span.kind, room, rounded) {
                    self.sizes[row] = self.solved_size(&block).unwrap_or(room);
                    self.unsure.insert(id, room - rounded);
                } else if span.kind == SegmentKind::Large && !span.is_expandable {
                    // Part of a longer gap may be slack too, from when the gap was shorter.
                    let most = room.saturating_sub(rounded).min(SMALL_SIZE);
                    if most > 0 {
                        self.sizes[row] = self.solved_size(&block).unwrap_or(rounded);
                        self.unsure.insert(id, most);
                    }
                }
            }
        }
        let sizes = &self.sizes;
        let blocks = (0..count).map(|row| {
            let id = AllocationId(row as u32);
            (id, self.allocations.get(id).address, sizes[row])
        });
        let left_out = map.fill(blocks);
        self.layout.misplaced += left_out.len() as u64;
    }

    /// The size the final segments give for a block that lived to the end.
    #[inline]
    fn exact_size(&self, address: u64, died: Moment) -> Option<u64> {
        let alive = died == NEVER;
        alive
            .then(|| self.final_sizes.get(&address).copied())
            .flatten()
    }

    /// The size that a replay of the allocator found, if it was asked for.
    fn solved_size(&self, allocation: &Allocation) -> Option<u64> {
        self.solved.get(&allocation.address).copied()
    }

    fn born(&mut self, map: &mut BlockMap, row: usize, id: AllocationId) {
        let Source { events, rules, .. } = self.source;
        // The columns say all that is needed here, and the allocation would be gathered from
        // twelve of them.
        let (address, requested) = (events.address(row), events.size(row));
        let died = self.allocations.died().get(id.index()).copied();
        let exact = self.exact_size(address, died.unwrap_or(0));
        let rounded = rules.round_size(requested);
        let mut placed = self.try_alloc(map, id, address, rounded, exact);
        if let Err(why) = placed
            && self.learn(map, why, address)
        {
            placed = self.try_alloc(map, id, address, rounded, exact);
        }
        let (size, home) = match placed {
            Ok((size, home)) => (size, Some(home)),
            Err(_) => {
                self.layout.misplaced += 1;
                (exact.unwrap_or(rounded), map.home(address))
            }
        };
        let (kind, pool) = home.unwrap_or((rules.kind(rounded), PoolId::DEFAULT));
        self.sizes[id.index()] = size;
        self.kinds[id.index()] = kind;
        self.pools[id.index()] = if events.has_pools() {
            events.pool(row)
        } else {
            pool
        };
    }

    /// Puts the block in place; its size, and its segment's size class and pool.
    fn try_alloc(
        &mut self,
        map: &mut BlockMap,
        id: AllocationId,
        address: u64,
        rounded: u64,
        exact: Option<u64>,
    ) -> Result<(u64, (SegmentKind, PoolId)), Misplaced> {
        let rules = self.source.rules;
        let splits = |kind, free, rounded| rules.should_split(kind, free, rounded);
        let Some(exact) = exact else {
            return map.alloc(id, address, rounded, splits);
        };
        if let (Some(free), Some((kind, _))) = (map.chunk_size(address), map.home(address)) {
            let by_rule = if splits(kind, free, rounded) {
                rounded
            } else {
                free
            };
            self.layout.wrong_at_end += u64::from(by_rule != exact);
        }
        map.place(id, address, exact)?;
        let home = map.home(address);
        Ok((
            exact,
            home.unwrap_or((rules.kind(rounded), PoolId::DEFAULT)),
        ))
    }

    /// Draws the consequence of a block not fitting: the block before it is shorter or longer
    /// than believed. True if another try makes sense.
    fn learn(&mut self, map: &mut BlockMap, why: Misplaced, address: u64) -> bool {
        let rules = self.source.rules;
        match why {
            Misplaced::Inside(owner) => {
                let holder = self.allocations.get(owner);
                let size = address.saturating_sub(holder.address);
                if size < rules.round_size(holder.requested)
                    || self.exact_size(holder.address, holder.died).is_some()
                {
                    return false;
                }
                map.shrink(holder.address, size);
                self.set_learned(owner, size);
                true
            }
            Misplaced::MidGap(owner) => {
                // Either the block before took the front of the gap as its slack, or this
                // dialect aligns addresses (torch_npu does, to 16 KiB, in expandable segments).
                if let Some(owner) = owner {
                    let holder = self.allocations.get(owner);
                    let size = address.saturating_sub(holder.address);
                    let kind = self.kinds[owner.index()];
                    let rounded = rules.round_size(holder.requested);
                    let is_open =
                        holder.born == 0 && self.exact_size(holder.address, holder.died).is_none();
                    if is_open && !rules.should_split(kind, size, rounded) {
                        self.learned.insert(owner, size);
                    }
                }
                map.cut_gap(address).is_ok()
            }
            Misplaced::NoSegment | Misplaced::TooSmall => false,
        }
    }

    fn set_learned(&mut self, id: AllocationId, size: u64) {
        if self.allocations.get(id).born == 0 {
            self.learned.insert(id, size);
            self.unsure.remove(&id);
        }
        if let Some(known) = self.sizes.get_mut(id.index()) {
            *known = size;
        }
    }

    /// Blocks newer than the trace have their size from the segments.
    fn after_the_end(&mut self) {
        for id in self.allocations.ids().rev() {
            let allocation = self.allocations.get(id);
            if allocation.origin != super::Origin::AfterRecording {
                break;
            }
            let rounded = self.source.rules.round_size(allocation.requested);
            self.sizes[id.index()] = self
                .exact_size(allocation.address, allocation.died)
                .unwrap_or(rounded);
            self.kinds[id.index()] = self.source.rules.kind(rounded);
        }
    }
}

/// The first span that begins at `moment`.
fn span_born_at(spans: &[SegmentSpan], moment: Moment) -> Option<&SegmentSpan> {
    let first = spans.partition_point(|span| span.born < moment);
    spans.get(first).filter(|span| span.born == moment)
}

/// The segment that holds `address` before the first event.
fn span_at_start(spans: &[SegmentSpan], address: u64) -> Option<&SegmentSpan> {
    let start = &spans[..spans.partition_point(|span| span.born == 0)];
    let after = start.partition_point(|span| span.address <= address);
    let span = start.get(after.checked_sub(1)?)?;
    (address < span.end()).then_some(span)
}
