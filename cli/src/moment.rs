//! The moments that `--at` and `--live-at` can name.

use profiler_core::oom::oom_events;
use profiler_core::replay::{DeviceReplay, Moment};
use profiler_core::snapshot::{Events, NO_TIME, Snapshot};

use crate::CommandError;

/// The moment that `text` names on `replay`'s device: `peak` (most requested bytes), `reserved`
/// (most reserved bytes), `oom` (what the last failed allocation met), `start`, `end`, an event's
/// number (the state after it), a time since the first event (`1.5s`), or a UTC time of day and
/// date (`2026-11-23T03:12:45.5Z`).
///
/// # Errors
/// [`CommandError::Usage`] if it names nothing, [`CommandError::NotThere`] if this file does not
/// have it.
pub fn parse(
    text: &str,
    snapshot: &Snapshot,
    replay: &DeviceReplay,
) -> Result<Moment, CommandError> {
    let last = replay.event_count();
    match text {
        "peak" => return Ok(replay.peak_moment()),
        "reserved" => return Ok(replay.reserved.peak().0),
        "start" => return Ok(0),
        "end" => return Ok(last),
        "oom" => {
            return oom_events(snapshot, replay).last().copied().ok_or_else(|| {
                CommandError::NotThere("no out-of-memory error was recorded in this file".into())
            });
        }
        _ => {}
    }
    if let Ok(event) = text.parse::<u32>() {
        if event >= last {
            return Err(CommandError::NotThere(format!(
                "there is no event {event}: this device has {last}, numbered from 0"
            )));
        }
        return Ok(event + 1);
    }
    let none = Events::default();
    let events = snapshot
        .trace(replay.device)
        .map_or(&none, |trace| &trace.events);
    let since = text
        .strip_suffix('s')
        .and_then(|seconds| seconds.parse::<f64>().ok());
    let first_us = (0..events.len())
        .map(|row| events.time_us(row))
        .find(|&time| time != NO_TIME);
    let wanted_us = match (since, first_us) {
        (Some(seconds), Some(first)) if seconds.is_finite() => {
            first.saturating_add((seconds * 1e6) as i64)
        }
        _ => match (parse_utc_us(text), first_us) {
            (Some(wanted), Some(_)) => wanted,
            (None, _) if since.is_none() => {
                return Err(CommandError::Usage(format!(
                    "cannot read {text:?} as a moment: expected peak, reserved, oom, start, end, \
                     an event's number, seconds since the first event (1.5s) or a UTC time \
                     (2026-11-23T03:12:45Z)"
                )));
            }
            _ => {
                return Err(CommandError::NotThere(
                    "the events of this file have no times (PyTorch before 2.2 wrote none)".into(),
                ));
            }
        },
    };
    Ok(moment_at_time(events, wanted_us))
}

/// The state after the last event that is not later than `wanted_us`. Times of several threads
/// may be a little out of order, so the whole column is looked at.
fn moment_at_time(events: &Events, wanted_us: i64) -> Moment {
    let by_then = |&row: &usize| {
        let time = events.time_us(row);
        time != NO_TIME && time <= wanted_us
    };
    (0..events.len())
        .rev()
        .find(by_then)
        .map_or(0, |row| row as Moment + 1)
}

/// Microseconds since the Unix epoch of a UTC time such as `2026-11-23T03:12:45.25Z`.
fn parse_utc_us(text: &str) -> Option<i64> {
    let (date, time) = text
        .strip_suffix('Z')
        .unwrap_or(text)
        .split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = time.splitn(3, ':');
    let hours: i64 = clock.next()?.parse().ok()?;
    let minutes: i64 = clock.next()?.parse().ok()?;
    let seconds: f64 = clock.next().unwrap_or("0").parse().ok()?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0.0..61.0).contains(&seconds);
    if !in_range {
        return None;
    }
    let of_day = (hours * 3600 + minutes * 60) * 1_000_000 + (seconds * 1e6) as i64;
    Some(days_since_epoch(year, month, day) * 86_400_000_000 + of_day)
}

/// Days from 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_times_are_read() {
        assert_eq!(parse_utc_us("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse_utc_us("2000-03-01T00:00:01.5Z"),
            Some(951_868_801_500_000)
        );
        assert_eq!(
            parse_utc_us("2026-11-23 03:12"),
            Some(1_795_403_520_000_000)
        );
        assert_eq!(parse_utc_us("2026-13-23 03:12"), None);
        assert_eq!(parse_utc_us("yesterday"), None);
    }
}
