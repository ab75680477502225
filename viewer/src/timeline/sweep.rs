//! The live allocations, moved forward in time from column to column.

use profiler_core::replay::{Allocations, Moment};

/// One live allocation as the raster needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its row in the device's allocations.
    pub row: u32,
    /// First moment it is gone.
    pub died: Moment,
    /// Requested bytes.
    pub bytes: u64,
}

/// The live allocations at one moment, in order of birth, which is the order they are stacked.
///
/// Moving from one moment to a later one costs the number of live allocations and of births in
/// between; there is no index to keep.
#[derive(Debug)]
pub struct Sweep<'a> {
    allocations: &'a Allocations,
    live: Vec<Live>,
    /// Rows below this have been seen.
    seen: usize,
}

impl<'a> Sweep<'a> {
    /// A sweep that stands before everything.
    #[must_use]
    pub fn new(allocations: &'a Allocations) -> Self {
        Self {
            allocations,
            live: Vec::new(),
            seen: 0,
        }
    }

    /// What is live at `moment`, and how many of them, from the oldest on, are those of the call
    /// before. Moments must not fall from call to call.
    pub fn advance(&mut self, moment: Moment) -> (&[Live], usize) {
        let is_alive = |live: &Live| live.died > moment;
        let first_dead = self.live.iter().position(|live| !is_alive(live));
        let unchanged = first_dead.unwrap_or(self.live.len());
        if first_dead.is_some() {
            self.live.retain(is_alive);
        }
        let born_by = self.allocations.born_by(moment).max(self.seen);
        let died = self.allocations.died();
        let requested = self.allocations.requested();
        for row in self.seen..born_by {
            if died[row] > moment {
                self.live.push(Live {
                    row: row as u32,
                    died: died[row],
                    bytes: requested[row],
                });
            }
        }
        self.seen = born_by;
        (&self.live, unchanged)
    }
}
