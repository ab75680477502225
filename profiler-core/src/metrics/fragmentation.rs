//! Where the reserved bytes go: an identity of integers that holds at every moment.
//!
//! ```text
//! reserved = requested    what the program asked for and still has
//!          + rounding     up to the allocator's size steps       ┐ inside blocks
//!          + slack        remainders too small to be split off   ┘
//!          + pending      freed, another stream may still use it
//!          + split free   gaps in segments that hold a live block: cannot be returned
//!          + whole free   segments with no live block: could be returned
//! ```

use serde::Serialize;

use crate::allocator::SizeRules;
use crate::replay::{AllocationId, Change, DeviceReplay, Moment, walk};
use crate::snapshot::{Events, Snapshot};

/// The parts of the reserved bytes at one moment, all in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fragmentation {
    /// Requested bytes of allocated blocks (pending ones not counted).
    pub requested_bytes: u64,
    /// What rounding added to those.
    pub rounding_bytes: u64,
    /// What not splitting added to those.
    pub slack_bytes: u64,
    /// Blocks that the program let go of and another stream may still use.
    pub pending_bytes: u64,
    /// Free bytes in segments (mapped runs, for expandable ones) that hold an active block.
    pub split_free_bytes: u64,
    /// Free bytes in segments that hold none.
    pub whole_free_bytes: u64,
    /// All segments.
    pub reserved_bytes: u64,
}

impl Fragmentation {
    /// PyTorch's `allocated_bytes`: blocks in use, as handed out.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.requested_bytes
            .saturating_add(self.rounding_bytes)
            .saturating_add(self.slack_bytes)
    }

    /// Bytes in no use that cannot go back to the driver either: rounding, slack and split free.
    /// Pending bytes are left out: each block that is freed is pending for one event, from
    /// `free_requested` to the `free_completed` after it, whether another stream waits or not.
    #[must_use]
    pub const fn lost_bytes(&self) -> u64 {
        self.rounding_bytes
            .saturating_add(self.slack_bytes)
            .saturating_add(self.split_free_bytes)
    }

    /// PyTorch's `active_bytes`: allocated and pending.
    #[must_use]
    pub fn active_bytes(&self) -> u64 {
        self.allocated_bytes().saturating_add(self.pending_bytes)
    }

    /// All free bytes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.split_free_bytes.saturating_add(self.whole_free_bytes)
    }

    /// Whether the parts add up to the whole.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.active_bytes().checked_add(self.free_bytes()) == Some(self.reserved_bytes)
    }
}

/// Utilisation: how much of the reserved memory is in use. As fractions, for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Utilisation {
    /// Highest active over highest reserved, taken independently: the figure of GMLake and
    /// STAlloc (the reciprocal of Johnstone and Wilson's fourth measure, ISMM 1998).
    pub peak_over_peak: f64,
    /// Active over reserved at the first moment of highest reserved (the reciprocal of their
    /// third measure).
    pub at_reserved_peak: f64,
}

/// Fragmentation over the whole recording of one device, condensed.
#[derive(Clone, Debug, Default)]
pub struct FragmentationHistory {
    /// First moment of highest active bytes.
    pub active_peak_moment: Moment,
    /// Highest active bytes.
    pub active_peak_bytes: u64,
    /// Highest allocated bytes.
    pub allocated_peak_bytes: u64,
    /// First moment of highest reserved bytes.
    pub reserved_peak_moment: Moment,
    /// The parts at that moment.
    pub at_reserved_peak: Fragmentation,
    /// First moment of the most bytes lost ([`Fragmentation::lost_bytes`]).
    pub worst_moment: Moment,
    /// The parts at that moment.
    pub at_worst: Fragmentation,
    /// The parts at the end.
    pub at_end: Fragmentation,
}

impl FragmentationHistory {
    /// Walks the recording of `replay` once. `visit` sees every moment at which something
    /// changed, in order, moment 0 included.
    pub fn walk(
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        mut visit: impl FnMut(Moment, &Fragmentation),
    ) -> Self {
        let rules = SizeRules::recorded(snapshot);
        let mut history = Self::default();
        walk_parts(snapshot, replay, &rules, |moment, parts| {
            history.add(moment, parts);
            visit(moment, parts);
        });
        history
    }

    /// Both labelled forms of utilisation; zero where nothing was reserved.
    #[must_use]
    pub fn utilisation(&self) -> Utilisation {
        let at = &self.at_reserved_peak;
        Utilisation {
            peak_over_peak: ratio(self.active_peak_bytes, at.reserved_bytes),
            at_reserved_peak: ratio(at.active_bytes(), at.reserved_bytes),
        }
    }

    fn add(&mut self, moment: Moment, parts: &Fragmentation) {
        if parts.active_bytes() > self.active_peak_bytes || moment == 0 {
            (self.active_peak_moment, self.active_peak_bytes) = (moment, parts.active_bytes());
        }
        self.allocated_peak_bytes = self.allocated_peak_bytes.max(parts.allocated_bytes());
        if parts.reserved_bytes > self.at_reserved_peak.reserved_bytes || moment == 0 {
            (self.reserved_peak_moment, self.at_reserved_peak) = (moment, *parts);
        }
        if moment == 0 || parts.lost_bytes() > self.at_worst.lost_bytes() {
            (self.worst_moment, self.at_worst) = (moment, *parts);
        }
        self.at_end = *parts;
    }
}

/// `part / whole` for display; 0 for an empty whole.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Walks the layout and gives the parts at every moment that changes something.
fn walk_parts(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    rules: &SizeRules,
    mut visit: impl FnMut(Moment, &Fragmentation),
) {
    let none = Events::default();
    let events = snapshot
        .trace(replay.device)
        .map_or(&none, |trace| &trace.events);
    let allocations = &replay.allocations;
    let mut parts = Fragmentation::default();
    // Blocks that the map could not place are in none of the parts: the identity is about the
    // segments' bytes, and those blocks are in no segment.
    walk(events, &replay.segments, allocations, |step| {
        let change = |parts: &mut Fragmentation, id: AllocationId, add: bool| {
            let block = allocations.get(id);
            let rounded = rules.round_size(block.requested).min(block.block_size);
            let requested = block.requested.min(rounded);
            let apply = |part: &mut u64, bytes: u64| {
                *part = if add {
                    part.saturating_add(bytes)
                } else {
                    part.saturating_sub(bytes)
                };
            };
            apply(&mut parts.requested_bytes, requested);
            apply(&mut parts.rounding_bytes, rounded - requested);
            apply(&mut parts.slack_bytes, block.block_size - rounded);
        };
        let pending = |parts: &mut Fragmentation, id: AllocationId, add: bool| {
            let bytes = allocations.get(id).block_size;
            let part = &mut parts.pending_bytes;
            *part = if add {
                part.saturating_add(bytes)
            } else {
                part.saturating_sub(bytes)
            };
        };
        match step.change {
            Change::Born(id) => change(&mut parts, id, true),
            Change::FreeRequested(id) => {
                change(&mut parts, id, false);
                pending(&mut parts, id, true);
            }
            Change::Died {
                id,
                was_pending: true,
            } => pending(&mut parts, id, false),
            Change::Died {
                id,
                was_pending: false,
            } => change(&mut parts, id, false),
            Change::Segments => {}
        }
        if !step.is_complete {
            return;
        }
        parts.reserved_bytes = step.map.reserved();
        parts.split_free_bytes = step.map.split_free();
        parts.whole_free_bytes = step.map.whole_free();
        visit(step.moment, &parts);
    });
}

/// The parts at one moment.
#[must_use]
pub fn fragmentation_at(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    moment: Moment,
) -> Fragmentation {
    let rules = SizeRules::recorded(snapshot);
    let mut parts = Fragmentation::default();
    let segments = replay.segments_at(moment);
    let mut live_bytes = vec![0_u64; segments.len()];
    for id in replay.live_at(moment) {
        let block = replay.allocations.get(id);
        let after = segments.partition_point(|segment| segment.address <= block.address);
        let Some(at) = after.checked_sub(1) else {
            continue;
        };
        if block.address >= segments[at].end() {
            continue;
        }
        live_bytes[at] = live_bytes[at].saturating_add(block.block_size);
        if block.is_pending_at(moment) {
            parts.pending_bytes = parts.pending_bytes.saturating_add(block.block_size);
            continue;
        }
        let rounded = rules.round_size(block.requested).min(block.block_size);
        let requested = block.requested.min(rounded);
        parts.requested_bytes = parts.requested_bytes.saturating_add(requested);
        parts.rounding_bytes = parts.rounding_bytes.saturating_add(rounded - requested);
        parts.slack_bytes = parts.slack_bytes.saturating_add(block.block_size - rounded);
    }
    for (segment, &live) in segments.iter().zip(&live_bytes) {
        parts.reserved_bytes = parts.reserved_bytes.saturating_add(segment.size);
        let free = segment.size.saturating_sub(live);
        let part = if live > 0 {
            &mut parts.split_free_bytes
        } else {
            &mut parts.whole_free_bytes
        };
        *part = part.saturating_add(free);
    }
    parts
}
