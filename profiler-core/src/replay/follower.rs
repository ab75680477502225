//! The part of a replay that can be done while the events are still being read.

use crate::snapshot::{DeviceId, Events, Snapshot};

use super::Curve;
use super::lifetimes::Walk;
use super::rewind::CurvesAhead;

/// Pairs allocations with frees as events come in, so that a replay has less to do when the last
/// is read ([`Replay::followed`](super::Replay::followed)). Of a recording that began with nothing
/// and under the allocator's default rules it finds the blocks and the curves too.
///
/// It sees the lists that [`read_followed`](crate::read::read_followed) shows, each from its
/// beginning. It may be moved to another thread than the one that reads.
#[derive(Debug, Default)]
pub struct Follower {
    lists: Vec<List>,
    /// By list, the curves of allocated bytes that a replay found to be right.
    allocated: Vec<Option<Curve>>,
}

/// What is known of one list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) walk: Walk,
    /// None if the list was not followed.
    pub(super) curves: Option<CurvesAhead>,
}

impl List {
    /// Nothing, of a list that is not followed.
    pub(super) fn not_followed() -> Self {
        Self {
            walk: Walk::default(),
            curves: None,
        }
    }

    fn followed() -> Self {
        Self {
            walk: Walk::with_layout(),
            curves: Some(CurvesAhead::default()),
        }
    }
}

impl Follower {
    /// How many lists are followed; those after them are left for the replay.
    pub const MAX_LISTS: usize = Snapshot::MAX_DEVICES;

    /// Sees the next events of list number `list`.
    pub fn see(&mut self, list: usize, events: &Events) {
        if list >= Self::MAX_LISTS {
            return;
        }
        if list >= self.lists.len() {
            self.lists.resize_with(list + 1, List::followed);
        }
        if let Some(list) = self.lists.get_mut(list) {
            list.walk.see(events, 0);
            if let Some(curves) = &mut list.curves {
                curves.see(events, 0);
            }
        }
    }

    /// The list that became the trace of `device`; `lists` as in [`Followed::lists`].
    ///
    /// [`Followed::lists`]: crate::read::Followed::lists
    #[must_use]
    pub fn list_of(
        snapshot: &Snapshot,
        lists: &[Option<usize>],
        device: DeviceId,
    ) -> Option<usize> {
        let mut traces = snapshot.traces.iter();
        let row = traces.position(|trace| trace.device == device)?;
        lists.get(row).copied().flatten()
    }

    /// After a replay: bytes of the blocks of list number `list` that the program had not let go
    /// of, if they were found while the list was read. They can be asked for once.
    #[must_use]
    pub fn take_allocated(&mut self, list: usize) -> Option<Curve> {
        self.allocated.get_mut(list)?.take()
    }

    /// What is known of list number `list`.
    pub(super) fn take(&mut self, list: usize) -> List {
        let known = self.lists.get_mut(list);
        known.map_or_else(List::not_followed, |known| {
            std::mem::replace(known, List::not_followed())
        })
    }

    /// Keeps the curve of list number `list` until it is asked for.
    pub(super) fn keep_allocated(&mut self, list: usize, curve: Curve) {
        if list >= self.allocated.len() {
            self.allocated.resize_with(list + 1, || None);
        }
        if let Some(slot) = self.allocated.get_mut(list) {
            *slot = Some(curve);
        }
    }
}
