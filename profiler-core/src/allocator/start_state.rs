//! The allocator's state at some moment of a trace, by undoing the events after it from the
//! final segments.
//!
//! What the events do not say is how much *slack* a block had that was live at that moment and
//! freed later: its true size lies between the rounded request and everything up to the next
//! block.
//!
//! ```text
//!   │ A (rounded request) │ slack of A? or free? │ B, live │
//!   └──────── size of A is somewhere in here ────┘
//! ```
//!
//! Only large blocks of plain segments have slack. [`StartState::rewind`] guesses by the rule of
//! the allocator (a rest of up to 1 MiB was not split off); the replay corrects guesses that the
//! recording contradicts.

use std::collections::BTreeMap;

use super::rewind::{Rewinder, lowest_mappings};
use super::rounding::SizeRules;
use crate::snapshot::{DeviceId, Events, SegmentKind, Snapshot};

/// A segment, or a mapped range of an expandable one, at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartSegment {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// The stream's pointer.
    pub stream: u64,
    /// The pool's number.
    pub pool: u32,
    /// Small or large.
    pub kind: SegmentKind,
    /// Whether it is a mapped range.
    pub is_expandable: bool,
    /// A guess at the order in which the segments were made, from 1: by address until the
    /// recording shows another.
    pub age: u32,
}

impl StartSegment {
    /// One past the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// A block in use at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartBlock {
    /// First byte.
    pub address: u64,
    /// Bytes, slack included.
    pub size: u64,
    /// Bytes asked for.
    pub requested: u64,
    /// Whether the program had let go of it.
    pub is_pending: bool,
    /// The least and the most its size can be; equal when the size is known.
    pub bounds: (u64, u64),
}

impl StartBlock {
    /// Whether its size is a guess.
    #[must_use]
    pub const fn is_guess(&self) -> bool {
        self.bounds.0 != self.bounds.1
    }
}

/// Segments and blocks at one moment, both in address order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartState {
    /// Segments and mapped ranges.
    pub segments: Vec<StartSegment>,
    /// Blocks in use.
    pub blocks: Vec<StartBlock>,
    /// Lowest address of each expandable lane's ranges over the whole trace, by lane.
    pub bases: BTreeMap<(u32, SegmentKind, u64), u64>,
    /// Events whose undoing contradicted the state (trimmed or edited files).
    pub contradictions: u64,
}

impl StartState {
    /// Bytes held at the moment.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let sizes = self.segments.iter().map(|segment| segment.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// The state before event `moment` of `device`'s trace, and the pools of segments taken
    /// later, as (event, pool), ascending, where the segments' fate tells.
    #[must_use]
    pub fn rewind(
        snapshot: &Snapshot,
        device: DeviceId,
        rules: &SizeRules,
        moment: u32,
    ) -> (Self, Vec<(u32, u32)>) {
        let no_events = Events::default();
        let events = snapshot
            .trace(device)
            .map_or(&no_events, |trace| &trace.events);
        let mut rewinder = Rewinder::from_final(snapshot, device, rules);
        for row in (moment as usize..events.len()).rev() {
            rewinder.undo(snapshot, events, row);
        }
        let bases = lowest_mappings(snapshot, events, rules, &rewinder.segments);
        let mut pools = std::mem::take(&mut rewinder.pools);
        pools.reverse();
        let mut state = rewinder.finish();
        state.bases = bases;
        (state, pools)
    }
}
