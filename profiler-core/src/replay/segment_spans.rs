//! Segments over time: which memory the driver had lent, from when to when.

use std::collections::BTreeMap;

use crate::snapshot::{
    Action, DeviceId, Event, Events, PoolId, SegmentKind, Snapshot, StackId, StreamId,
};

use super::{Moment, NEVER};

/// A segment, or a contiguous mapped run of an expandable one, while its extent did not change.
///
/// ```text
///   moment      0     5        9
///   run A       [20 MiB][40 MiB ........   map at 4 → two spans: 20 MiB until 5, 40 MiB from 5
///   segment B         [2 MiB ...]          segment_alloc at 4, segment_free at 8
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// First moment it was there with this extent.
    pub born: Moment,
    /// First moment it was not; [`NEVER`] if it is there at the end.
    pub died: Moment,
    /// The stream its blocks belong to.
    pub stream: StreamId,
    /// Its memory pool (default for segments freed before the snapshot by PyTorch before 2.12,
    /// whose events do not say).
    pub pool: PoolId,
    /// Small or large.
    pub kind: SegmentKind,
    /// Whether it is a run of an expandable segment.
    pub is_expandable: bool,
    /// Who needed it, if known.
    pub stack: StackId,
}

impl SegmentSpan {
    /// One past the last byte, saturating.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }

    /// Whether it was there at `moment`.
    #[must_use]
    pub const fn is_live_at(&self, moment: Moment) -> bool {
        self.born <= moment && moment < self.died
    }
}

/// A segment's facts without its times.
pub(super) type Extent = SegmentSpan;

/// Finds every span of `device`, ordered by birth then address, and how many segment events
/// contradict the segments.
pub(super) fn find(
    snapshot: &Snapshot,
    device: DeviceId,
    events: &Events,
) -> (Vec<SegmentSpan>, u64) {
    let rows: Vec<usize> = (0..events.len())
        .filter(|&row| is_segment_event(events, row))
        .collect();
    let mut map = ExtentMap::default();
    for segment in snapshot.segments.of_device(device) {
        map.insert(Extent {
            address: segment.address,
            size: segment.total_size,
            born: 0,
            died: NEVER,
            stream: segment.stream,
            pool: segment.pool,
            kind: segment.kind,
            is_expandable: segment.is_expandable,
            stack: segment.stack,
        });
    }
    for &row in rows.iter().rev() {
        map.undo(&events.get(row));
    }
    // Births and deaths seen while undoing are not of the forward run.
    map.restart();
    for &row in &rows {
        map.moment = row as Moment + 1;
        map.apply(&events.get(row));
    }
    map.finish()
}

fn is_segment_event(events: &Events, row: usize) -> bool {
    matches!(
        events.action(row),
        Action::SegmentAlloc | Action::SegmentFree | Action::SegmentMap | Action::SegmentUnmap
    )
}

/// The spans of a recording that began without a segment, told event by event.
#[derive(Debug, Default)]
pub(super) struct SpansAhead(ExtentMap);

impl SpansAhead {
    /// Applies the segment event that leads to `moment`; the span that it begins, if one does.
    pub(super) fn see(&mut self, moment: Moment, event: &Event) -> Option<SegmentSpan> {
        self.0.moment = moment;
        self.0.apply(event);
        // Only the live ones are asked for.
        self.0.ended.clear();
        let holder = self.0.live.range(..=event.address).next_back();
        let span = holder.map(|(_, &span)| span);
        span.filter(|span| span.born == moment)
    }

    /// Whether every event so far fits to those before it.
    pub(super) fn is_consistent(&self) -> bool {
        self.0.contradictions == 0
    }
}

/// The extents at one moment, by address.
#[derive(Debug, Default)]
struct ExtentMap {
    live: BTreeMap<u64, Extent>,
    ended: Vec<Extent>,
    moment: Moment,
    contradictions: u64,
}

impl ExtentMap {
    fn apply(&mut self, event: &Event) {
        match event.action {
            Action::SegmentAlloc => self.insert(extent_of(event, false)),
            Action::SegmentFree => self.remove_whole(event),
            Action::SegmentMap => self.add_run(event),
            Action::SegmentUnmap => self.remove_run(event),
            _ => {}
        }
    }

    fn undo(&mut self, event: &Event) {
        match event.action {
            Action::SegmentAlloc => self.remove_whole(event),
            Action::SegmentFree => self.insert(extent_of(event, false)),
            Action::SegmentMap => self.remove_run(event),
            Action::SegmentUnmap => self.add_run(event),
            _ => {}
        }
    }

    fn restart(&mut self) {
        self.ended.clear();
        self.contradictions = 0;
        for extent in self.live.values_mut() {
            extent.born = 0;
        }
    }

    fn finish(mut self) -> (Vec<SegmentSpan>, u64) {
        self.ended.extend(self.live.into_values());
        self.ended
            .retain(|span| span.born < span.died && span.size > 0);
        // No memory lies past the last address: what says so is no segment, and everything after
        // this can rely on first and last byte.
        let claimed = self.ended.len();
        self.ended
            .retain(|span| span.address.checked_add(span.size).is_some());
        self.contradictions += (claimed - self.ended.len()) as u64;
        self.ended.sort_by_key(|span| (span.born, span.address));
        (self.ended, self.contradictions)
    }

    fn insert(&mut self, extent: Extent) {
        let extent = Extent {
            born: self.moment,
            died: NEVER,
            ..extent
        };
        if let Some(earlier) = self.live.insert(extent.address, extent) {
            self.contradictions += 1;
            self.end(earlier);
        }
    }

    fn end(&mut self, extent: Extent) {
        self.ended.push(Extent {
            died: self.moment,
            ..extent
        });
    }

    fn remove_whole(&mut self, event: &Event) {
        match self.live.get(&event.address).copied() {
            Some(extent) if extent.size == event.size => {
                self.live.remove(&event.address);
                self.end(extent);
            }
            _ => self.contradictions += 1,
        }
    }

    /// Maps `event`'s range, joining it with the runs it touches.
    fn add_run(&mut self, event: &Event) {
        let mut run = extent_of(event, true);
        let mut joins = |map: &mut Self, neighbour: Option<Extent>, after: bool| {
            let Some(neighbour) = neighbour else { return };
            let touches = if after {
                neighbour.address == run.end()
            } else {
                neighbour.end() == run.address
            };
            if !touches || !neighbour.is_expandable || neighbour.stream != run.stream {
                return;
            }
            map.live.remove(&neighbour.address);
            map.end(neighbour);
            run.size = run.size.saturating_add(neighbour.size);
            run.address = run.address.min(neighbour.address);
            (run.kind, run.pool) = (neighbour.kind, neighbour.pool);
            if !after || run.stack.is_empty() {
                run.stack = neighbour.stack;
            }
        };
        let before = self
            .live
            .range(..event.address)
            .next_back()
            .map(|(_, &extent)| extent);
        let after = self
            .live
            .range(event.address..)
            .next()
            .map(|(_, &extent)| extent);
        joins(self, before, false);
        joins(self, after, true);
        self.insert(run);
    }

    /// Unmaps `event`'s range, leaving what the run has on either side.
    fn remove_run(&mut self, event: &Event) {
        let end = event.address.saturating_add(event.size);
        let holder = self
            .live
            .range(..=event.address)
            .next_back()
            .map(|(_, &extent)| extent);
        let Some(holder) = holder.filter(|run| run.is_expandable && run.end() >= end) else {
            self.contradictions += 1;
            return;
        };
        self.live.remove(&holder.address);
        self.end(holder);
        if holder.address < event.address {
            self.insert(Extent {
                size: event.address - holder.address,
                ..holder
            });
        }
        if end < holder.end() {
            self.insert(Extent {
                address: end,
                size: holder.end() - end,
                ..holder
            });
        }
    }
}

/// The extent a segment event names.
///
/// Its size class is told by its size: small segments are 2 MiB (`kSmallBuffer`) and expandable
/// small pages too, while large ones are at least 10 MiB (`c10/core/AllocatorConfig.h`).
fn extent_of(event: &Event, is_expandable: bool) -> Extent {
    const SMALL_BUFFER: u64 = 2 << 20;
    Extent {
        address: event.address,
        size: event.size,
        born: 0,
        died: NEVER,
        stream: event.stream,
        pool: event.pool,
        kind: if event.size <= SMALL_BUFFER {
            SegmentKind::Small
        } else {
            SegmentKind::Large
        },
        is_expandable,
        stack: event.stack,
    }
}
