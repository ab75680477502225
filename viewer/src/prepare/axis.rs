//! The time axis: from a position on it to the moment in force there, and back.
//!
//! ```text
//!   events   |m0 |m1 |m2 |m3 |         moment m stands at m..m+1
//!   clock    m0|m1    |m2|m3           moment m stands from its event's time to the next one's
//! ```

use profiler_core::replay::Moment;
use profiler_core::snapshot::{Events, NO_TIME};

/// What a unit of the axis is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum AxisKind {
    /// One event.
    #[default]
    Events,
    /// One microsecond since the first event.
    Clock,
}

/// The clock of one device's recording.
///
/// The order of events is authoritative and their times are not: a time earlier than one before
/// it counts as that one, so that the axis never runs backwards.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds since `start_us`, by event row, never falling. Empty without times.
    since_start_us: Vec<u64>,
    /// Microseconds since the Unix epoch of the first event that has a time.
    pub start_us: i64,
    /// How many events there were before the first with a time.
    untimed: usize,
}

impl Clock {
    /// The clock of `events`; empty if they have no times.
    #[must_use]
    pub fn new(events: &Events) -> Self {
        let mut clock = Self::default();
        if events.has_times() {
            clock.since_start_us.reserve_exact(events.len());
        }
        clock.see(events, 0);
        clock
    }

    /// Goes on with the events from row `from` on: those after the last it has seen, wherever
    /// they are now.
    pub fn see(&mut self, events: &Events, from: usize) {
        if !self.is_known() && !events.has_times() {
            self.untimed += events.len().saturating_sub(from);
            return;
        }
        let mut latest = self.length_us();
        for row in from..events.len() {
            let time = events.time_us(row);
            if !self.is_known() {
                if time == NO_TIME {
                    self.untimed += 1;
                    continue;
                }
                self.start_us = time;
                self.since_start_us.resize(self.untimed, 0);
            }
            if time != NO_TIME {
                let since = i128::from(time) - i128::from(self.start_us);
                latest = latest.max(u64::try_from(since).unwrap_or(0));
            }
            self.since_start_us.push(latest);
        }
    }

    /// How many events it has seen.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.is_known() {
            self.since_start_us.len()
        } else {
            self.untimed
        }
    }

    /// Whether it has seen none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives back the memory that growing left over.
    pub fn shrink_to_fit(&mut self) {
        self.since_start_us.shrink_to_fit();
    }

    /// Whether the events had times.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.since_start_us.is_empty()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.since_start_us.capacity() * size_of::<u64>()
    }

    /// Microseconds from the first event to `moment`.
    #[must_use]
    pub fn since_start_us(&self, moment: Moment) -> u64 {
        let event = (moment as usize).saturating_sub(1);
        let last = self.since_start_us.len().saturating_sub(1);
        self.since_start_us
            .get(event.min(last))
            .copied()
            .unwrap_or(0)
    }

    /// The moment in force `since_us` microseconds after the first event: the last one that has
    /// come by then.
    #[must_use]
    pub fn moment_at(&self, since_us: u64) -> Moment {
        self.since_start_us
            .partition_point(|&time| time <= since_us) as Moment
    }

    /// The moment in force at `time_us`, microseconds since the Unix epoch.
    #[must_use]
    pub fn moment_at_epoch(&self, time_us: i64) -> Moment {
        let since = i128::from(time_us) - i128::from(self.start_us);
        u64::try_from(since).map_or(0, |since| self.moment_at(since))
    }

    /// Microseconds from the first to the last event.
    #[must_use]
    pub fn length_us(&self) -> u64 {
        self.since_start_us.last().copied().unwrap_or(0)
    }
}

/// One device's axis of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    /// What its unit is.
    pub kind: AxisKind,
    /// The device's clock.
    pub clock: &'a Clock,
    /// The device's final moment.
    pub last: Moment,
}

impl Axis<'_> {
    /// Where the axis ends; it begins at 0.
    #[must_use]
    pub fn length(&self) -> f64 {
        match self.kind {
            AxisKind::Events => f64::from(self.last) + 1.0,
            AxisKind::Clock => (self.clock.length_us() as f64).max(1.0) * 1.0001,
        }
    }

    /// The moment in force at `position`.
    #[must_use]
    pub fn moment_at(&self, position: f64) -> Moment {
        let whole = position.max(0.0).floor();
        match self.kind {
            AxisKind::Events => (whole as u32).min(self.last),
            AxisKind::Clock if position < 0.0 => 0,
            AxisKind::Clock => self.clock.moment_at(whole as u64).min(self.last),
        }
    }

    /// Where `moment` begins.
    #[must_use]
    pub fn position_of(&self, moment: Moment) -> f64 {
        match self.kind {
            AxisKind::Events => f64::from(moment),
            AxisKind::Clock => self.clock.since_start_us(moment) as f64,
        }
    }

    /// The moments in force somewhere in `from..to`, as first and last.
    #[must_use]
    pub fn moments_in(&self, from: f64, to: f64) -> (Moment, Moment) {
        let first = self.moment_at(from);
        // The end is open: the moment that begins exactly there belongs to the next stretch.
        let end = if to.floor() == to { to - 1.0 } else { to };
        let last = match self.kind {
            AxisKind::Events => self.moment_at(end),
            AxisKind::Clock => self.moment_at(end),
        };
        (first, last.max(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_core::snapshot::Event;

    fn events(times: &[i64]) -> Events {
        let mut events = Events::default();
        for &time_us in times {
            events.push(&Event {
                time_us,
                ..Event::default()
            });
        }
        events
    }

    #[test]
    fn stretches_of_events_tile_the_axis() {
        let clock = Clock::default();
        let axis = Axis {
            kind: AxisKind::Events,
            clock: &clock,
            last: 10,
        };
        assert_eq!(axis.moments_in(0.0, 4.0), (0, 3));
        assert_eq!(axis.moments_in(4.0, 4.5), (4, 4));
        assert_eq!(axis.moments_in(4.5, 5.0), (4, 4));
        assert_eq!(axis.moments_in(8.0, 40.0), (8, 10));
    }

    #[test]
    fn the_clock_never_runs_backwards() {
        let clock = Clock::new(&events(&[100, 105, 103, NO_TIME, 120]));
        let since: Vec<u64> = (0..=5).map(|moment| clock.since_start_us(moment)).collect();
        assert_eq!(since, [0, 0, 5, 5, 5, 20]);
        assert_eq!(clock.moment_at(0), 1);
        assert_eq!(clock.moment_at(4), 1);
        assert_eq!(clock.moment_at(5), 4);
        assert_eq!(clock.moment_at(99), 5);
        assert_eq!(clock.moment_at_epoch(90), 0);
        let late = Clock::new(&events(&[NO_TIME, NO_TIME, 7, 9]));
        let since: Vec<u64> = (0..=4).map(|moment| late.since_start_us(moment)).collect();
        assert_eq!((since, late.len()), (vec![0, 0, 0, 0, 2], 4));
    }

    #[test]
    fn without_times_there_is_no_clock() {
        assert!(!Clock::new(&events(&[NO_TIME, NO_TIME])).is_known());
    }
}
