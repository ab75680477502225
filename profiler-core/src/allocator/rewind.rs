//! Undoing a trace's events one by one, from the final segments back.

use std::collections::BTreeMap;

use super::rounding::{SMALL_SEGMENT_SIZE, SMALL_SIZE, SizeRules};
use super::start_state::{StartBlock, StartSegment, StartState};
use crate::snapshot::{Action, DeviceId, Events, PoolId, SegmentKind, Snapshot};

#[derive(Clone, Copy)]
struct Live {
    requested: u64,
    /// Known only for blocks of the final segments.
    size: Option<u64>,
    is_pending: bool,
}

/// Undoes events one by one.
pub(super) struct Rewinder<'a> {
    rules: &'a SizeRules,
    pub(super) segments: BTreeMap<u64, StartSegment>,
    blocks: BTreeMap<u64, Live>,
    contradictions: u64,
    /// The pool each `segment_alloc` row's segment turned out to belong to.
    pub(super) pools: Vec<(u32, u32)>,
}

impl<'a> Rewinder<'a> {
    pub(super) fn from_final(snapshot: &Snapshot, device: DeviceId, rules: &'a SizeRules) -> Self {
        let mut segments = BTreeMap::new();
        let mut blocks = BTreeMap::new();
        for segment in snapshot.segments.of_device(device) {
            segments.insert(
                segment.address,
                StartSegment {
                    address: segment.address,
                    size: segment.total_size,
                    stream: snapshot.streams.pointer(segment.stream) as u64,
                    pool: segment.pool.0,
                    kind: segment.kind,
                    is_expandable: segment.is_expandable,
                    age: 0,
                },
            );
            for block in snapshot.segments.blocks(segment) {
                if block.state.is_active() {
                    blocks.insert(
                        block.address,
                        Live {
                            requested: block.requested_size,
                            size: Some(block.size),
                            is_pending: block.state == crate::snapshot::BlockState::PendingFree,
                        },
                    );
                }
            }
        }
        Self {
            rules,
            segments,
            blocks,
            contradictions: 0,
            pools: Vec::new(),
        }
    }

    pub(super) fn undo(&mut self, snapshot: &Snapshot, events: &Events, row: usize) {
        let address = events.address(row);
        let size = events.size(row);
        match events.action(row) {
            Action::Alloc => {
                let removed = self.blocks.remove(&address);
                self.contradictions += u64::from(removed.is_none());
            }
            Action::FreeCompleted => {
                let live = Live {
                    requested: size,
                    size: None,
                    is_pending: true,
                };
                let before = self.blocks.insert(address, live);
                self.contradictions += u64::from(before.is_some());
            }
            Action::FreeRequested => match self.blocks.get_mut(&address) {
                Some(live) => live.is_pending = false,
                None => self.contradictions += 1,
            },
            Action::SegmentAlloc => match self.segments.remove(&address) {
                Some(segment) if segment.size == size => {
                    self.pools.push((row as u32, segment.pool));
                }
                _ => self.contradictions += 1,
            },
            Action::SegmentFree => {
                let segment = self.returned(snapshot, events, row, false);
                self.segments.insert(address, segment);
            }
            Action::SegmentMap => self.cut(address, size),
            Action::SegmentUnmap => {
                let range = self.returned(snapshot, events, row, true);
                self.join(range);
            }
            _ => {}
        }
    }

    /// The segment or range an event gave back.
    fn returned(
        &self,
        snapshot: &Snapshot,
        events: &Events,
        row: usize,
        is_expandable: bool,
    ) -> StartSegment {
        let address = events.address(row);
        let size = events.size(row);
        let stream = snapshot.streams.pointer(events.stream(row)) as u64;
        let own_kind = if size == SMALL_SEGMENT_SIZE {
            SegmentKind::Small
        } else {
            SegmentKind::Large
        };
        let kind = if is_expandable {
            // A range of whole large pages may also be small pages: its neighbours know.
            self.near(address, stream)
                .map_or(self.kind_of_pages(size), |segment| segment.kind)
        } else {
            own_kind
        };
        let pool = if events.has_pools() {
            events.pool(row)
        } else {
            PoolId::DEFAULT
        };
        StartSegment {
            address,
            size,
            stream,
            pool: pool.0,
            kind,
            is_expandable,
            age: 0,
        }
    }

    fn kind_of_pages(&self, size: u64) -> SegmentKind {
        let page = self.rules.page_size(SegmentKind::Large);
        if page > 0 && size.is_multiple_of(page) {
            SegmentKind::Large
        } else {
            SegmentKind::Small
        }
    }

    /// The expandable range of `stream` closest to `address`, within 16 GiB.
    fn near(&self, address: u64, stream: u64) -> Option<&StartSegment> {
        const REACH: u64 = 16 << 30;
        let is_match = |segment: &&StartSegment| segment.is_expandable && segment.stream == stream;
        let below = self.segments.range(..=address).rev().take(64);
        let below = below.map(|(_, segment)| segment).find(is_match);
        let above = self.segments.range(address..).take(64);
        let above = above.map(|(_, segment)| segment).find(is_match);
        let distance = |segment: &&StartSegment| segment.address.abs_diff(address);
        [below, above]
            .into_iter()
            .flatten()
            .filter(|segment| distance(segment) <= REACH)
            .min_by_key(distance)
    }

    /// Takes a range out of the mapped range around it.
    fn cut(&mut self, address: u64, size: u64) {
        let end = address.saturating_add(size);
        let around = self.segments.range(..=address).next_back();
        let Some((&start, &segment)) = around else {
            self.contradictions += 1;
            return;
        };
        if !segment.is_expandable || segment.end() < end {
            self.contradictions += 1;
            return;
        }
        self.segments.remove(&start);
        if start < address {
            self.segments.insert(
                start,
                StartSegment {
                    size: address - start,
                    ..segment
                },
            );
        }
        if end < segment.end() {
            self.segments.insert(
                end,
                StartSegment {
                    address: end,
                    size: segment.end() - end,
                    ..segment
                },
            );
        }
    }

    /// Adds a mapped range, as one with its neighbours of the same lane.
    fn join(&mut self, mut range: StartSegment) {
        let is_same = |a: &StartSegment, b: &StartSegment| {
            a.is_expandable && (a.stream, a.pool, a.kind) == (b.stream, b.pool, b.kind)
        };
        let before = self.segments.range(..range.address).next_back();
        if let Some((&start, &before)) = before
            && before.end() == range.address
            && is_same(&before, &range)
        {
            self.segments.remove(&start);
            range.address = before.address;
            range.size = range.size.saturating_add(before.size);
        }
        let end = range.end();
        if let Some(&after) = self.segments.get(&end)
            && is_same(&after, &range)
        {
            self.segments.remove(&end);
            range.size = range.size.saturating_add(after.size);
        }
        self.segments.insert(range.address, range);
    }

    /// Sizes every block: known, or rounded plus the slack the rules suggest.
    pub(super) fn finish(mut self) -> StartState {
        let mut state = StartState {
            segments: self.segments.into_values().collect(),
            ..StartState::default()
        };
        for (age, segment) in (1..).zip(&mut state.segments) {
            segment.age = age;
        }
        let starts: Vec<u64> = self.blocks.keys().copied().collect();
        let mut at = 0;
        for segment in &state.segments {
            while starts.get(at).is_some_and(|&start| start < segment.address) {
                self.contradictions += 1;
                at += 1;
            }
            while let Some(&start) = starts.get(at)
                && start < segment.end()
            {
                at += 1;
                let Some(live) = self.blocks.get(&start) else {
                    continue;
                };
                let next = starts.get(at).copied().unwrap_or(u64::MAX);
                let room = next.min(segment.end()) - start;
                let (size, bounds) = sized(self.rules, segment, live, room);
                if size > room {
                    self.contradictions += 1;
                }
                let size = size.min(room);
                state.blocks.push(StartBlock {
                    address: start,
                    size,
                    requested: live.requested,
                    is_pending: live.is_pending,
                    bounds: (bounds.0.min(size), bounds.1.max(size)),
                });
            }
        }
        self.contradictions += (starts.len() - at) as u64;
        state.contradictions = self.contradictions;
        state
    }
}

/// A block's size and the bounds of it, given the room up to the next block.
fn sized(rules: &SizeRules, segment: &StartSegment, live: &Live, room: u64) -> (u64, (u64, u64)) {
    if let Some(size) = live.size {
        return (size, (size, size));
    }
    let rounded = rules.round_size(live.requested);
    let rest = room.saturating_sub(rounded);
    let is_plain_large = segment.kind == SegmentKind::Large && !segment.is_expandable;
    if !is_plain_large || rest == 0 {
        return (rounded, (rounded, rounded));
    }
    if rules.should_split(segment.kind, room, rounded) {
        // More than a rest that stays: at least some of it was split off.
        (
            rounded,
            (rounded, rounded.saturating_add(rest.min(SMALL_SIZE))),
        )
    } else {
        (room, (rounded, room))
    }
}

/// The lowest address each expandable lane ever has memory at, from the ranges at the moment and
/// all mappings: its reservation starts there or below.
pub(super) fn lowest_mappings(
    snapshot: &Snapshot,
    events: &Events,
    rules: &SizeRules,
    segments: &BTreeMap<u64, StartSegment>,
) -> BTreeMap<(u32, SegmentKind, u64), u64> {
    let mut bases = BTreeMap::new();
    let mut note = |key: (u32, SegmentKind, u64), address: u64| {
        let base = bases.entry(key).or_insert(address);
        *base = address.min(*base);
    };
    for segment in segments.values().filter(|segment| segment.is_expandable) {
        note(
            (segment.pool, segment.kind, segment.stream),
            segment.address,
        );
    }
    // A mapping is made for the allocation after it, which tells its pool.
    let mut mapped: Vec<u64> = Vec::new();
    for row in 0..events.len() {
        match events.action(row) {
            Action::SegmentMap => mapped.push(events.address(row)),
            Action::Alloc => {
                let kind = rules.kind(rules.round_size(events.size(row)));
                let stream = snapshot.streams.pointer(events.stream(row)) as u64;
                for address in mapped.drain(..) {
                    note((events.pool(row).0, kind, stream), address);
                }
            }
            Action::SegmentUnmap => {}
            _ => mapped.clear(),
        }
    }
    bases
}
