//! The driver as the recording has it: every call has to be the next recorded one.

use super::driver::{Collection, Driver, Piece};
use crate::snapshot::{Action, Events};

/// A segment event of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentEvent {
    pub(super) event: u32,
    pub(super) action: Action,
    pub(super) piece: Piece,
    pub(super) pool: u32,
}

/// A call that is not the next recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    /// What the model did, and where (0 if the driver would have chosen).
    pub(super) action: Action,
    pub(super) piece: Piece,
    /// What the recording has instead, if it has anything for this step.
    pub(super) recorded: Option<SegmentEvent>,
}

/// Answers from the recording.
#[derive(Clone, Debug)]
pub(super) struct RecordedDriver<'a> {
    events: &'a [SegmentEvent],
    next: usize,
    /// Segment events from this row on belong to later steps.
    until: u32,
    pub(super) matched: u64,
    pub(super) deviation: Option<Deviation>,
    /// Whether memory was held before the recording began.
    has_earlier_history: bool,
}

/// The segment events of a trace.
pub(super) fn segment_events(events: &Events) -> Vec<SegmentEvent> {
    let is_segment = |row: &usize| {
        matches!(
            events.action(*row),
            Action::SegmentAlloc | Action::SegmentFree | Action::SegmentMap | Action::SegmentUnmap
        )
    };
    (0..events.len())
        .filter(is_segment)
        .map(|row| SegmentEvent {
            event: row as u32,
            action: events.action(row),
            piece: Piece {
                address: events.address(row),
                size: events.size(row),
            },
            pool: events.pool(row).0,
        })
        .collect()
}

impl<'a> RecordedDriver<'a> {
    /// Starts before event `from`.
    pub(super) fn new(events: &'a [SegmentEvent], from: u32, has_earlier_history: bool) -> Self {
        Self {
            events,
            next: events.partition_point(|event| event.event < from),
            until: from,
            matched: 0,
            deviation: None,
            has_earlier_history,
        }
    }

    /// Lets the segment events before `row` (inclusive if `inclusive`) happen.
    pub(super) fn open(&mut self, row: u32, inclusive: bool) {
        self.until = row.saturating_add(u32::from(inclusive));
    }

    /// The next recorded event of this step.
    pub(super) fn peek(&self) -> Option<SegmentEvent> {
        let next = self.events.get(self.next)?;
        (next.event < self.until).then_some(*next)
    }

    fn take(&mut self, action: Action, piece: Piece, is_match: impl Fn(Piece) -> bool) -> bool {
        let recorded = self.peek();
        if let Some(next) = recorded
            && next.action == action
            && is_match(next.piece)
        {
            self.next += 1;
            self.matched += 1;
            return true;
        }
        if self.deviation.is_none() {
            self.deviation = Some(Deviation {
                action,
                piece,
                recorded,
            });
        }
        false
    }

    fn is_next_release(&self) -> bool {
        self.peek()
            .is_some_and(|next| matches!(next.action, Action::SegmentFree | Action::SegmentUnmap))
    }
}

impl Driver for RecordedDriver<'_> {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let next = self.peek();
        if self.is_next_release() || next.is_none() {
            // The recorded call failed too, if the step ends in a failure or releases first.
            return None;
        }
        let piece = Piece { address: 0, size };
        let address = next.map(|next| next.piece.address);
        if self.take(Action::SegmentAlloc, piece, |next| next.size == size) {
            address
        } else {
            None
        }
    }

    fn free(&mut self, piece: Piece) {
        self.take(Action::SegmentFree, piece, |next| next == piece);
    }

    fn reserve(&mut self, page: u64) -> Piece {
        // The first mapping is at the start of the new address space.
        let address = self.peek().map_or(1 << 60, |next| next.piece.address);
        let size = (1_u64 << 41).next_multiple_of(page.max(1));
        Piece { address, size }
    }

    fn unreserve(&mut self, _piece: Piece) {}

    fn map(&mut self, piece: Piece) -> bool {
        if self.is_next_release() || self.peek().is_none() {
            return false;
        }
        self.take(Action::SegmentMap, piece, |next| next == piece)
    }

    fn unmap(&mut self, piece: Piece) {
        self.take(Action::SegmentUnmap, piece, |next| next == piece);
    }

    fn is_within_limit(&self, _held: u64, _size: u64) -> bool {
        true
    }

    fn collect(&mut self, _: f64, _held: u64, _reclaimed: u64, round: &[Piece]) -> Collection {
        let upcoming = self.events.iter().skip(self.next);
        let upcoming = upcoming.take_while(|next| next.event < self.until);
        let released: Vec<Piece> = upcoming
            .filter(|next| next.action == Action::SegmentFree)
            .map(|next| next.piece)
            .collect();
        if released.is_empty() {
            Collection::Done
        } else if released.starts_with(round) {
            Collection::Round
        } else if self.has_earlier_history {
            Collection::These(released)
        } else {
            Collection::Done
        }
    }

    fn is_freeable(&mut self, pool: u32) -> bool {
        let upcoming = self.events.iter().skip(self.next);
        let mut upcoming = upcoming.take_while(|next| next.event < self.until);
        upcoming.any(|next| next.pool == pool)
    }
}
