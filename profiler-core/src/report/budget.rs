//! How much of a recording one page keeps.

/// The most bytes a report has: mail servers and reviewers' patience end about there.
pub const MAX_BYTES: usize = 5_000_000;

/// Upper limits of what goes into a page, over all devices.
///
/// What is left out is summed exactly and named in the page. The starting values were chosen so
/// that the public snapshots and synthetic recordings of ten million events stay below
/// [`MAX_BYTES`] at the first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Allocations kept one by one.
    pub(super) allocations: usize,
    /// Moments at which sums are kept.
    pub(super) moments: usize,
    /// Frames of stacks, callers shared.
    pub(super) stack_nodes: usize,
    /// Characters of one text.
    pub(super) text_chars: usize,
    /// Groups by stack, layer and category that the smaller allocations are summed in.
    pub(super) rest_groups: usize,
    /// Blocks in segment maps.
    pub(super) blocks: usize,
    /// Annotation ranges.
    pub(super) ranges: usize,
    /// Devices; a machine has 16 at most, a forged file can name millions.
    pub(super) devices: usize,
    /// Fragmentation charts, one per device.
    pub(super) charts: usize,
}

impl Budget {
    /// The limits tried first.
    pub(super) const FIRST: Self = Self {
        allocations: 36_000,
        moments: 24_000,
        stack_nodes: 40_000,
        text_chars: 300,
        rest_groups: 4_000,
        blocks: 24_000,
        ranges: 3_000,
        devices: 32,
        charts: 16,
    };

    /// Half as much of everything; texts keep at least 40 characters.
    pub(super) fn halved(self) -> Self {
        Self {
            allocations: self.allocations / 2,
            moments: (self.moments / 2).max(16),
            stack_nodes: self.stack_nodes / 2,
            text_chars: (self.text_chars * 3 / 4).max(40),
            rest_groups: self.rest_groups / 2,
            blocks: self.blocks / 2,
            ranges: self.ranges / 2,
            devices: (self.devices / 2).max(1),
            charts: self.charts / 2,
        }
    }

    /// The part of the limits that falls to one of several devices, by its share of events.
    pub(super) fn share(self, part: u64, whole: u64) -> Self {
        let of = |limit: usize| {
            let share = u128::from(part) * limit as u128 / u128::from(whole.max(1));
            usize::try_from(share).unwrap_or(limit).min(limit)
        };
        Self {
            allocations: of(self.allocations),
            moments: of(self.moments).max(16),
            rest_groups: of(self.rest_groups),
            blocks: of(self.blocks),
            ranges: of(self.ranges),
            ..self
        }
    }
}
