//! Memory outside PyTorch: what the driver counts for the recorded process beyond what PyTorch had
//! reserved (context, libraries, NCCL), over time.
//!
//! The two figures come from two sides at two times. They are subtracted only where that is exact:
//! where nothing was reserved or given back while the driver was asked, by the recorded events or
//! by the allocator's own counters before and after. Elsewhere there is no figure.

use serde::Serialize;

use crate::replay::{DeviceReplay, Moment};
use crate::snapshot::{CounterLook, DeviceLook, DeviceWatch, Events, NO_TIME, Snapshot};

/// How far an event's time may be from the truth, microseconds. PyTorch takes times from the
/// processor's counter and converts them (`c10/util/ApproximateClock.h`); a millisecond is far above
/// what that loses.
const CLOCK_SLACK_US: i64 = 1_000;

/// A device at one time, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutsidePoint {
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
    /// Held by all programs on the device.
    pub used_bytes: Option<u64>,
    /// Held by the recorded process.
    pub process_bytes: Option<u64>,
    /// What PyTorch had reserved; None where that changed while the driver was asked, or is not
    /// known.
    pub reserved_bytes: Option<u64>,
    /// Held by the recorded process beyond that.
    pub outside_bytes: Option<u64>,
    /// Held by other processes.
    pub others_bytes: Option<u64>,
}

/// A device over the recording, from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Every look at it, oldest first.
    pub points: Vec<OutsidePoint>,
    /// The first with the most outside PyTorch.
    pub most: Option<OutsidePoint>,
    /// The one that shows best how it was with the most requested bytes: see [`Self::nearest`].
    pub at_peak: Option<OutsidePoint>,
    /// The last that has a figure.
    pub last: Option<OutsidePoint>,
}

impl Outside {
    /// Joins what was seen of a device with its replay. None if nothing was seen.
    #[must_use]
    pub fn new(snapshot: &Snapshot, replay: &DeviceReplay) -> Option<Self> {
        let watch = snapshot.watch(replay.device)?;
        if watch.looks.is_empty() {
            return None;
        }
        let none = Events::default();
        let trace = snapshot.trace(replay.device);
        let events = trace.map_or(&none, |trace| &trace.events);
        let times = times(events);
        let points: Vec<OutsidePoint> = (watch.looks.iter())
            .map(|look| point(look, watch, replay, &times))
            .collect();
        let mut out = Self {
            most: None,
            at_peak: None,
            last: points
                .iter()
                .rev()
                .find(|one| one.outside_bytes.is_some())
                .copied(),
            points,
        };
        for point in &out.points {
            let most = out.most.and_then(|most| most.outside_bytes);
            if point.outside_bytes.is_some() && point.outside_bytes > most {
                out.most = Some(*point);
            }
        }
        let peak = replay.peak_moment();
        let time = times.get((peak as usize).saturating_sub(1));
        out.at_peak = time.and_then(|&time| out.nearest(time, replay.reserved.at(peak)));
        Some(out)
    }

    /// The point with a figure that shows best how things were at a time: of those at which PyTorch
    /// had as much reserved as then, or else of all, the nearest in time; of two equally near, the
    /// earlier.
    #[must_use]
    pub fn nearest(&self, time_us: i64, reserved_bytes: u64) -> Option<OutsidePoint> {
        let known = self.points.iter().filter(|one| one.outside_bytes.is_some());
        let differs = |one: &OutsidePoint| one.reserved_bytes != Some(reserved_bytes);
        known
            .min_by_key(|one| (differs(one), one.time_us.abs_diff(time_us)))
            .copied()
    }
}

/// The events' times, never running backwards; empty where none are recorded.
fn times(events: &Events) -> Vec<i64> {
    if !events.has_times() {
        return Vec::new();
    }
    let first = (0..events.len())
        .map(|row| events.time_us(row))
        .find(|&time| time != NO_TIME);
    let mut latest = first.unwrap_or(0);
    (0..events.len())
        .map(|row| {
            latest = latest.max(events.time_us(row));
            latest
        })
        .collect()
}

fn point(
    look: &DeviceLook,
    watch: &DeviceWatch,
    replay: &DeviceReplay,
    times: &[i64],
) -> OutsidePoint {
    let reserved = reserved_by_events(look, replay, times)
        .or_else(|| reserved_by_counters(look, &watch.counters));
    OutsidePoint {
        time_us: look.time_us,
        used_bytes: look.used_bytes,
        process_bytes: look.process_bytes,
        reserved_bytes: reserved,
        outside_bytes: (look.process_bytes.zip(reserved))
            .and_then(|(process, reserved)| process.checked_sub(reserved)),
        others_bytes: look.others_bytes,
    }
}

/// What was reserved all through a look, by the recorded events. Before the first of them nothing
/// is known: older ones may have been dropped.
fn reserved_by_events(look: &DeviceLook, replay: &DeviceReplay, times: &[i64]) -> Option<u64> {
    let from = look.time_us.saturating_sub(CLOCK_SLACK_US);
    let to = look.until_us.saturating_add(CLOCK_SLACK_US);
    if *times.first()? > from {
        return None;
    }
    let moment = |time| times.partition_point(|&event| event <= time) as Moment;
    let (before, after) = (moment(from), moment(to));
    let steps = replay.reserved.moments();
    let first = steps.partition_point(|&step| step <= before);
    let has_changed = steps.get(first).is_some_and(|&step| step <= after);
    (!has_changed).then(|| replay.reserved.at(before))
}

/// The same by the allocator's counters: they were read before and after, and nothing was reserved
/// or given back between.
fn reserved_by_counters(look: &DeviceLook, counters: &[CounterLook]) -> Option<u64> {
    let after = counters.partition_point(|one| one.time_us < look.until_us);
    let before = counters.partition_point(|one| one.time_us <= look.time_us);
    let (before, after) = (counters.get(before.checked_sub(1)?)?, counters.get(after)?);
    (before.turnover_bytes == after.turnover_bytes).then_some(before.reserved_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Replay;
    use crate::snapshot::{Action, DeviceId, Event, Trace};

    const MIB: u64 = 1 << 20;

    fn event(action: Action, address: u64, size: u64, time_us: i64) -> Event {
        Event {
            action,
            address,
            size,
            time_us,
            ..Event::default()
        }
    }

    /// Two segments of 20 MiB: at 1 s and at 3 s; the second goes at 5 s.
    fn snapshot(looks: Vec<DeviceLook>, counters: Vec<CounterLook>) -> Snapshot {
        let mut events = Events::default();
        for one in [
            event(Action::SegmentAlloc, 1 << 30, 20 * MIB, 1_000_000),
            event(Action::Alloc, 1 << 30, 5 * MIB, 1_000_000),
            event(Action::SegmentAlloc, 2 << 30, 20 * MIB, 3_000_000),
            event(Action::Alloc, 2 << 30, 10 * MIB, 3_000_000),
            event(Action::FreeRequested, 2 << 30, 10 * MIB, 4_000_000),
            event(Action::FreeCompleted, 2 << 30, 10 * MIB, 4_000_000),
            event(Action::SegmentFree, 2 << 30, 20 * MIB, 5_000_000),
        ] {
            events.push(&one);
        }
        let mut snapshot = Snapshot::default();
        snapshot.traces.push(Trace {
            device: DeviceId(0),
            events,
        });
        snapshot.watches.push(DeviceWatch {
            looks,
            counters,
            ..DeviceWatch::default()
        });
        snapshot
    }

    fn look(time_us: i64, until_us: i64, process_mib: u64) -> DeviceLook {
        DeviceLook {
            time_us,
            until_us,
            process_bytes: Some(process_mib * MIB),
            ..DeviceLook::default()
        }
    }

    fn outside(snapshot: &Snapshot) -> Outside {
        let replay = Replay::new(snapshot);
        // The final state has no segments, so the replay starts with what is never freed.
        Outside::new(snapshot, &replay.devices[0]).unwrap()
    }

    #[test]
    fn figures_are_there_where_they_are_exact() {
        let looks = vec![
            look(500_000, 501_000, 300),
            look(2_000_000, 2_001_000, 330),
            // A segment came while the driver was asked.
            look(2_999_000, 3_001_000, 350),
            look(3_500_000, 3_501_000, 345),
            // Just after a change: within what the clocks may differ.
            look(5_000_500, 5_000_600, 330),
            look(6_000_000, 6_001_000, 335),
        ];
        let found = outside(&snapshot(looks, Vec::new()));
        let base = found.points[1].reserved_bytes.unwrap();
        let known: Vec<_> = (found.points.iter())
            .map(|one| one.reserved_bytes.map(|bytes| (bytes - base) / MIB))
            .collect();
        assert_eq!(known, [None, Some(0), None, Some(20), None, Some(0)]);
        for point in &found.points {
            let sum = point
                .outside_bytes
                .zip(point.reserved_bytes)
                .map(|(a, b)| a + b);
            assert_eq!(sum, point.reserved_bytes.and(point.process_bytes));
        }
        assert_eq!(found.most, Some(found.points[5]));
        assert_eq!(found.last, Some(found.points[5]));
        assert_eq!(found.at_peak, Some(found.points[3]));
        assert_eq!(found.nearest(0, base), Some(found.points[1]));
        assert_eq!(found.nearest(0, base + 20 * MIB), Some(found.points[3]));
        assert_eq!(found.nearest(0, 1), Some(found.points[1]));
    }

    #[test]
    fn counters_tell_what_events_do_not() {
        let counter = |time_us, reserved, turnover| CounterLook {
            time_us,
            reserved_bytes: reserved * MIB,
            turnover_bytes: turnover * MIB,
        };
        let looks = vec![
            look(100_000, 101_000, 300),
            look(300_000, 301_000, 300),
            look(500_000, 501_000, 300),
        ];
        let counters = vec![
            counter(50_000, 40, 100),
            counter(200_000, 40, 100),
            // As much as before, but something came and went.
            counter(400_000, 40, 140),
        ];
        let found = outside(&snapshot(looks, counters));
        let known: Vec<_> = found.points.iter().map(|one| one.reserved_bytes).collect();
        assert_eq!(known, [Some(40 * MIB), None, None]);
    }

    #[test]
    fn nothing_seen_is_nothing_said() {
        let snapshot = snapshot(Vec::new(), Vec::new());
        let replay = Replay::new(&snapshot);
        assert_eq!(Outside::new(&snapshot, &replay.devices[0]), None);
    }
}
