//! The part of a replay that can be done while the events are still being read.

use crate::snapshot::{Events, Snapshot};

use super::lifetimes::Walk;

/// Pairs allocations with frees as events come in, so that a replay has less to do when the last
/// is read ([`Replay::followed`](super::Replay::followed)).
///
/// It sees the lists that [`read_followed`](crate::read::read_followed) shows, each from its
/// beginning. It may be moved to another thread than the one that reads.
#[derive(Debug, Default)]
pub struct Follower {
    walks: Vec<Walk>,
}

impl Follower {
    /// How many lists are followed; those after them are left for the replay.
    pub const MAX_LISTS: usize = Snapshot::MAX_DEVICES;

    /// Sees the next events of list number `list`.
    pub fn see(&mut self, list: usize, events: &Events) {
        if list >= Self::MAX_LISTS {
            return;
        }
        if list >= self.walks.len() {
            self.walks.resize_with(list + 1, Walk::default);
        }
        if let Some(walk) = self.walks.get_mut(list) {
            walk.see(events, 0);
        }
    }

    /// How far list number `list` was followed.
    pub(super) fn take(&mut self, list: usize) -> Walk {
        let walk = self.walks.get_mut(list);
        walk.map(std::mem::take).unwrap_or_default()
    }
}
