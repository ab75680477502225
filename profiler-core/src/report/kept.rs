//! Which allocations the page keeps one by one, and exact sums of the rest.

use std::cmp::Reverse;

use crate::replay::{AllocationId, DeviceReplay, Moment};

use super::moments::KeptMoments;

/// The allocations of one device that the page keeps, and the sums of those it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptAllocations {
    /// In order of birth.
    pub(super) ids: Vec<AllocationId>,
    /// By row of all allocations: whether it is kept.
    pub(super) is_kept: Vec<bool>,
    /// Requested bytes of all live allocations, by row of the kept moments.
    pub(super) live_bytes: Vec<u64>,
    /// Those of the allocations not kept.
    pub(super) rest_bytes: Vec<u64>,
    /// How many live allocations are not kept.
    pub(super) rest_count: Vec<u64>,
    /// Requested bytes of the largest allocation not kept; 0 if all are.
    pub(super) largest_left_out: u64,
}

impl KeptAllocations {
    /// At most `budget` allocations of `replay`, in this order: those live at a moment of
    /// `focus`, those born close to one, and those that fill most of the timeline (bytes times
    /// events lived). Larger ones first, of equal ones the earlier.
    pub(super) fn choose(
        replay: &DeviceReplay,
        moments: &KeptMoments,
        focus: &[Moment],
        budget: usize,
    ) -> Self {
        let len = replay.allocations.len();
        let mut rows: Vec<u32> = (0..len as u32).collect();
        let mut kept = Self {
            is_kept: vec![true; len],
            ..Self::default()
        };
        if len > budget {
            if budget > 0 {
                rows.select_nth_unstable_by_key(budget - 1, |&row| rank(replay, focus, row));
            }
            for &row in rows.get(budget..).unwrap_or(&[]) {
                let size = replay.allocations.requested().get(row as usize);
                kept.largest_left_out = kept.largest_left_out.max(size.copied().unwrap_or(0));
                if let Some(flag) = kept.is_kept.get_mut(row as usize) {
                    *flag = false;
                }
            }
            rows.truncate(budget);
            rows.sort_unstable();
        }
        kept.ids = rows.into_iter().map(AllocationId).collect();
        kept.sum(replay, moments);
        kept
    }

    /// Whether every allocation is kept.
    pub(super) fn is_complete(&self) -> bool {
        self.ids.len() == self.is_kept.len()
    }

    /// The live allocations at `moment` that are not kept.
    pub(super) fn rest_at<'a>(
        &'a self,
        replay: &DeviceReplay,
        moment: Moment,
    ) -> impl Iterator<Item = AllocationId> + use<'a> {
        let live = if self.is_complete() {
            Vec::new()
        } else {
            replay.live_at(moment)
        };
        live.into_iter()
            .filter(|id| !self.is_kept.get(id.index()).copied().unwrap_or(true))
    }

    fn sum(&mut self, replay: &DeviceReplay, moments: &KeptMoments) {
        let rows = moments.at.len();
        let mut all = vec![0_i128; rows + 1];
        let mut rest = vec![0_i128; rows + 1];
        let mut rest_count = vec![0_i64; rows + 1];
        let allocations = &replay.allocations;
        let columns = allocations
            .requested()
            .iter()
            .zip(allocations.born())
            .zip(allocations.died());
        for (((&bytes, &born), &died), &is_kept) in columns.zip(&self.is_kept) {
            let (from, to) = (moments.row_from(born), moments.row_from(died));
            let bytes = i128::from(bytes);
            all[from] += bytes;
            all[to] -= bytes;
            if !is_kept {
                rest[from] += bytes;
                rest[to] -= bytes;
                rest_count[from] += 1;
                rest_count[to] -= 1;
            }
        }
        let running = |changes: &[i128]| {
            let sums = changes.iter().take(rows).scan(0_i128, |sum, change| {
                *sum += change;
                Some(u64::try_from(*sum).unwrap_or(u64::MAX))
            });
            sums.collect::<Vec<u64>>()
        };
        self.live_bytes = running(&all);
        self.rest_bytes = running(&rest);
        let counts: Vec<i128> = rest_count.iter().map(|&count| i128::from(count)).collect();
        self.rest_count = running(&counts);
    }
}

/// Where an allocation stands in the order of [`KeptAllocations::choose`]; lower is kept first.
fn rank(replay: &DeviceReplay, focus: &[Moment], row: u32) -> (u8, Reverse<u128>, u32) {
    /// Events around a moment of interest within which people look at single allocations.
    const CLOSE: Moment = 3_000;
    let allocations = &replay.allocations;
    let index = row as usize;
    let born = allocations.born().get(index).copied().unwrap_or(0);
    let died = allocations.died().get(index).copied().unwrap_or(0);
    let size = u128::from(allocations.requested().get(index).copied().unwrap_or(0));
    if focus.iter().any(|&moment| born <= moment && moment < died) {
        return (0, Reverse(size), row);
    }
    if focus.iter().any(|&moment| born.abs_diff(moment) <= CLOSE) {
        return (1, Reverse(size), row);
    }
    let lived = died.min(replay.event_count()).saturating_sub(born);
    (2, Reverse(size * u128::from(lived)), row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Replay;

    #[test]
    fn kept_and_rest_are_the_whole_at_every_kept_moment() {
        let snapshot = crate::report::synthetic::recording(3_000, 64, 4);
        let replay = Replay::new(&snapshot).devices.remove(0);
        for (allocations, moment_budget) in [(usize::MAX, 5_000), (100, 5_000), (100, 90), (0, 50)]
        {
            let moments = KeptMoments::choose(&replay, &[], &[replay.peak_moment()], moment_budget);
            let kept = KeptAllocations::choose(&replay, &moments, &[], allocations);
            assert!(kept.ids.len() <= allocations);
            for (row, &moment) in moments.at.iter().enumerate() {
                let live = replay.live_at(moment);
                let size = |id: &AllocationId| replay.allocations.get(*id).requested;
                let all: u64 = live.iter().map(size).sum();
                let of_kept: u64 = live
                    .iter()
                    .filter(|id| kept.is_kept[id.index()])
                    .map(size)
                    .sum();
                assert_eq!(kept.live_bytes[row], all);
                assert_eq!(of_kept + kept.rest_bytes[row], all, "at {moment}");
                assert_eq!(replay.requested.at(moment), all, "the curve at {moment}");
                let rest = kept.rest_at(&replay, moment).count() as u64;
                assert_eq!(rest, kept.rest_count[row]);
            }
        }
    }

    #[test]
    fn what_is_live_at_the_focus_is_kept_first() {
        let snapshot = crate::report::synthetic::recording(9_000, 64, 4);
        let replay = Replay::new(&snapshot).devices.remove(0);
        let moments = KeptMoments::choose(&replay, &[], &[], 10_000);
        let peak = replay.peak_moment();
        let at_peak = replay.live_at(peak);
        let kept = KeptAllocations::choose(&replay, &moments, &[peak], at_peak.len() + 20);
        assert!(at_peak.iter().all(|id| kept.is_kept[id.index()]));
        assert_eq!(kept.rest_at(&replay, peak).count(), 0);
        let sizes = replay
            .allocations
            .ids()
            .filter(|id| !kept.is_kept[id.index()]);
        let largest = sizes.map(|id| replay.allocations.get(id).requested).max();
        assert_eq!(largest, Some(kept.largest_left_out));
    }
}
