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
    if let Some(event) = event_number(text) {
        return match u32::try_from(event).ok().filter(|&event| event < last) {
            Some(event) => Ok(event + 1),
            None if last == 0 => Err(CommandError::NotThere(format!(
                "there is no event {event}: no events of this device are recorded, only what it \
                 held when the file was written"
            ))),
            None => Err(CommandError::NotThere(format!(
                "there is no event {event}: this device has {last}, numbered from 0"
            ))),
        };
    }
    let since = text
        .strip_suffix('s')
        .and_then(|seconds| seconds.parse::<f64>().ok())
        .filter(|seconds| seconds.is_finite());
    let wanted = match since {
        Some(seconds) => Wanted::Since(seconds),
        None => Wanted::At(parse_utc_us(text).ok_or_else(|| {
            CommandError::Usage(format!(
                "cannot read {text:?} as a moment: expected peak, reserved, oom, start, end, an \
                 event's number, seconds since the first event (1.5s) or a UTC time \
                 (2026-11-23T03:12:45Z)"
            ))
        })?),
    };
    let none = Events::default();
    let events = snapshot
        .trace(replay.device)
        .map_or(&none, |trace| &trace.events);
    let times = (0..events.len()).map(|row| events.time_us(row));
    let times = times.filter(|&time| time != NO_TIME);
    let (Some(first), Some(newest)) = (times.clone().next(), times.max()) else {
        return Err(CommandError::NotThere(
            if last == 0 {
                "no events of this device are recorded, so there is no time to look at"
            } else {
                "the events of this file have no times (PyTorch before 2.2 wrote none)"
            }
            .into(),
        ));
    };
    let wanted_us = match wanted {
        Wanted::Since(seconds) => first.saturating_add((seconds * 1e6) as i64),
        Wanted::At(time_us) => time_us,
    };
    if !(first..=newest).contains(&wanted_us) {
        return Err(CommandError::NotThere(format!(
            "{text} is outside the recording, which goes from {} to {}, or 0s to {:.6}s",
            utc(first),
            utc(newest),
            newest.saturating_sub(first) as f64 / 1e6
        )));
    }
    Ok(moment_at_time(events, wanted_us))
}

/// A moment in time as it is asked for.
enum Wanted {
    /// Seconds since the first event.
    Since(f64),
    /// Microseconds since the Unix epoch.
    At(i64),
}

/// The number that `text` is, its digits possibly in groups as this command prints them.
fn event_number(text: &str) -> Option<u64> {
    let is_separator = |c: char| matches!(c, ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' | ',' | '_');
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits: String = text.chars().filter(|&c| !is_separator(c)).collect();
    digits.parse().ok()
}

/// A time as [`parse_utc_us`] reads it.
fn utc(time_us: i64) -> String {
    let (days, of_day) = (
        time_us.div_euclid(86_400_000_000),
        time_us.rem_euclid(86_400_000_000),
    );
    let (year, month, day) = date_of(days);
    let seconds = of_day / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1_000_000
    )
}

/// The inverse of [`days_since_epoch`] (the same paper, `civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
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
    fn times_are_written_as_they_are_read() {
        for time in [
            0,
            951_868_801_500_000,
            1_795_403_520_123_456,
            1_709_164_800_000_000,
        ] {
            assert_eq!(parse_utc_us(&utc(time)), Some(time), "{}", utc(time));
        }
    }

    #[test]
    fn numbers_may_be_grouped() {
        assert_eq!(event_number("1\u{202f}234"), Some(1234));
        assert_eq!(event_number("1,234"), Some(1234));
        assert_eq!(event_number("2026-11-23 03:12"), None);
        assert_eq!(event_number("1.5s"), None);
    }

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
