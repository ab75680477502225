//! Which moments of a recording the page keeps sums for.
//!
//! A short recording keeps them all. Of a long one the page keeps, for each of many equal
//! stretches, the moments of its lowest and highest requested bytes and of its highest reserved
//! bytes, so that no peak is ever drawn lower than it was; around the peak and every OOM finer
//! stretches, and every single moment close by.

use std::collections::BTreeSet;

use crate::replay::{Curve, DeviceReplay, Moment};

/// The kept moments of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptMoments {
    /// Ascending; the first is 0 and the last the final one.
    pub(super) at: Vec<Moment>,
    /// Whether every moment is kept.
    pub(super) is_complete: bool,
}

impl KeptMoments {
    /// At most about `budget` moments of `replay`, `special` ones always among them and the
    /// surroundings of `focus` in more detail.
    pub(super) fn choose(
        replay: &DeviceReplay,
        special: &[Moment],
        focus: &[Moment],
        budget: usize,
    ) -> Self {
        let last = replay.event_count();
        if (last as usize) < budget {
            return Self {
                at: (0..=last).collect(),
                is_complete: true,
            };
        }
        let mut kept: BTreeSet<Moment> = special.iter().copied().filter(|&m| m <= last).collect();
        kept.extend([0, last]);
        // Each stretch keeps up to three moments.
        let overview = (budget / 2 / 3).max(1) as u32;
        let mut add = |from: Moment, to: Moment, stretches: u32| {
            add_extremes(&mut kept, &replay.requested, from, to, stretches, true);
            add_extremes(&mut kept, &replay.reserved, from, to, stretches, false);
        };
        add(0, last, overview);
        let near = (budget / 4 / focus.len().max(1)) as u32;
        let around = (budget / 4 / 3 / focus.len().max(1)) as u32;
        for &moment in focus {
            let reach = last / 64;
            let (from, to) = (
                moment.saturating_sub(reach),
                moment.saturating_add(reach).min(last),
            );
            add(from, to, around.max(1));
        }
        for &moment in focus {
            let from = moment.saturating_sub(near / 2);
            kept.extend(from..=moment.saturating_add(near / 2).min(last));
        }
        Self {
            at: kept.into_iter().collect(),
            is_complete: false,
        }
    }

    /// The row of the first kept moment at or after `moment`.
    pub(super) fn row_from(&self, moment: Moment) -> usize {
        self.at.partition_point(|&kept| kept < moment)
    }

    /// The value of `curve` at every kept moment.
    pub(super) fn values(&self, curve: &Curve) -> Vec<u64> {
        let mut steps = curve.steps().peekable();
        let mut value = 0;
        let at_moment = |&moment: &Moment| {
            while let Some((_, next)) = steps.next_if(|&(change, _)| change <= moment) {
                value = next;
            }
            value
        };
        self.at.iter().map(at_moment).collect()
    }
}

/// Adds the moments of the highest, and if `lows` the lowest, value of `curve` in each of
/// `stretches` equal parts of `from..=to`.
fn add_extremes(
    kept: &mut BTreeSet<Moment>,
    curve: &Curve,
    from: Moment,
    to: Moment,
    stretches: u32,
    lows: bool,
) {
    let span = u64::from(to - from) + 1;
    let edge = |n: u32| u64::from(from) + span * u64::from(n) / u64::from(stretches);
    let mut steps = curve
        .steps()
        .skip_while(|&(moment, _)| moment <= from)
        .peekable();
    let mut value = curve.at(from);
    for stretch in 0..stretches {
        let (start, end) = (edge(stretch), edge(stretch + 1));
        if start == end {
            continue;
        }
        let start = start as Moment;
        let (mut low, mut high) = ((value, start), (value, start));
        let mut changed = false;
        while let Some((moment, next)) = steps.next_if(|&(moment, _)| u64::from(moment) < end) {
            if moment == start {
                (low, high) = ((next, start), (next, start));
            }
            if next < low.0 {
                low = (next, moment);
            }
            if next > high.0 {
                high = (next, moment);
            }
            changed |= moment != start;
            value = next;
        }
        if lows || changed {
            kept.insert(high.1);
        }
        if lows {
            kept.insert(low.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(events: u32) -> DeviceReplay {
        let snapshot = crate::report::synthetic::recording(events, 300, 5);
        crate::replay::Replay::new(&snapshot).devices.remove(0)
    }

    #[test]
    fn a_short_recording_is_kept_whole() {
        let kept = KeptMoments::choose(&wave(50), &[], &[], 100);
        assert!(kept.is_complete);
        assert_eq!(kept.at, (0..=50).collect::<Vec<_>>());
    }

    #[test]
    fn every_stretch_keeps_its_extremes() {
        let replay = wave(20_000);
        let (peak, highest) = replay.requested.peak();
        let kept = KeptMoments::choose(&replay, &[777], &[peak], 1_200);
        assert!(!kept.is_complete);
        assert!(kept.at.len() <= 1_300, "{}", kept.at.len());
        assert!(kept.at.contains(&777) && kept.at.contains(&20_000));
        assert_eq!(
            kept.values(&replay.requested).into_iter().max(),
            Some(highest)
        );
        // Between two kept moments of one stretch nothing is higher than the stretch's highest.
        let stretches = 200_u32;
        for stretch in 0..stretches {
            let edge = |n: u32| (20_001_u64 * u64::from(n) / u64::from(stretches)) as u32;
            let all = (edge(stretch)..edge(stretch + 1)).map(|m| replay.requested.at(m));
            let in_stretch = kept
                .at
                .iter()
                .filter(|&&m| (edge(stretch)..edge(stretch + 1)).contains(&m));
            let (low, high) = (all.clone().min(), all.max());
            let values: Vec<u64> = in_stretch.map(|&m| replay.requested.at(m)).collect();
            assert_eq!(
                (values.iter().min().copied(), values.iter().max().copied()),
                (low, high)
            );
        }
        for near in peak.saturating_sub(100)..=peak + 100 {
            assert!(kept.at.contains(&near.min(20_000)));
        }
    }
}
