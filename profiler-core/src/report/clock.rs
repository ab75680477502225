//! Wall-clock time of moments.

use crate::replay::Moment;
use crate::snapshot::{Events, NO_TIME};

/// The times of a device's events, for drawing: never running backwards.
///
/// The order of events is what counts, and times recorded by several threads can be out of order
/// by some microseconds; such a time is drawn as the latest one before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Microseconds since the Unix epoch, by event row; empty if none are recorded.
    times_us: Vec<i64>,
    /// How many events had a time before that of an earlier event.
    pub(super) out_of_order: u64,
}

impl Clock {
    pub(super) fn new(events: &Events) -> Self {
        let mut clock = Self::default();
        if !events.has_times() {
            return clock;
        }
        let first = (0..events.len())
            .map(|row| events.time_us(row))
            .find(|&time| time != NO_TIME);
        let mut latest = first.unwrap_or(0);
        clock.times_us.reserve_exact(events.len());
        for row in 0..events.len() {
            let time = events.time_us(row);
            clock.out_of_order += u64::from(time != NO_TIME && time < latest);
            latest = latest.max(time);
            clock.times_us.push(latest);
        }
        clock
    }

    /// Whether times were recorded.
    pub(super) fn is_known(&self) -> bool {
        !self.times_us.is_empty()
    }

    /// The first event's time, microseconds since the Unix epoch.
    pub(super) fn start_us(&self) -> Option<i64> {
        self.times_us.first().copied()
    }

    /// Microseconds from the first event to the one that leads to `moment`.
    pub(super) fn since_start_us(&self, moment: Moment) -> u64 {
        let row = (moment as usize).saturating_sub(1);
        let start = self.start_us().unwrap_or(0);
        let time = self.times_us.get(row).copied().unwrap_or(start);
        u64::try_from(time.saturating_sub(start)).unwrap_or(0)
    }

    /// The moment just before the first event at or after `time_us`.
    pub(super) fn moment_at(&self, time_us: i64) -> Moment {
        self.times_us.partition_point(|&time| time < time_us) as Moment
    }

    /// Microseconds between the first and the last event.
    pub(super) fn span_us(&self) -> u64 {
        self.since_start_us(self.times_us.len() as Moment)
    }
}
