//! `gpumemprof fragmentation FILE`: where the reserved memory goes.

use profiler_core::metrics::{
    Fragmentation, FragmentationHistory, Utilisation, fragmentation_at, free_memory,
};
use profiler_core::replay::{DeviceReplay, Moment};
use profiler_core::snapshot::{DeviceId, Snapshot};
use profiler_core::units;
use serde::Serialize;

use crate::args::FragmentationArguments;
use crate::output::{Align, JsonWarning};
use crate::{CommandError, input, moment, output};

/// The JSON form, schema `gpumemprof.fragmentation/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    device: i32,
    utilisation: Utilisation,
    active_peak_bytes: u64,
    allocated_peak_bytes: u64,
    moments: Vec<MomentParts>,
    warnings: Vec<JsonWarning<'a>>,
}

/// The parts at one moment.
#[derive(Serialize)]
struct MomentParts {
    name: String,
    /// Row of the event that led there; null before the first.
    event: Option<u32>,
    #[serde(flatten)]
    parts: Fragmentation,
    free: Vec<FreeRow>,
}

/// Free memory that one kind of request can use.
#[derive(Serialize)]
struct FreeRow {
    pool: (u64, u64),
    kind: &'static str,
    stream: i64,
    total_bytes: u64,
    largest_bytes: u64,
    gaps: u64,
    whole_segment_bytes: u64,
}

/// Prints the decomposition at the moments that matter.
pub(super) fn run(arguments: &FragmentationArguments) -> Result<(), CommandError> {
    let (snapshot, replay) = input::load(&arguments.input)?;
    let device = input::pick_device(&replay, arguments.device)?;
    let chosen = arguments
        .at
        .as_deref()
        .map(|text| moment::parse(text, &snapshot, device))
        .transpose()?;
    let history = FragmentationHistory::walk(&snapshot, device, |_, _| {});
    let mut wanted = vec![
        ("reserved peak".to_owned(), history.reserved_peak_moment),
        ("active peak".to_owned(), history.active_peak_moment),
        ("most lost".to_owned(), history.worst_moment),
        ("end".to_owned(), device.event_count()),
    ];
    if let (Some(text), Some(moment)) = (&arguments.at, chosen) {
        wanted.insert(0, (text.clone(), moment));
    }
    let moments = wanted
        .into_iter()
        .map(|(name, moment)| moment_parts(&snapshot, device, name, moment))
        .collect();
    let report = Report {
        schema: "gpumemprof.fragmentation/1",
        file: arguments.input.file.display().to_string(),
        device: device.device.0,
        utilisation: history.utilisation(),
        active_peak_bytes: history.active_peak_bytes,
        allocated_peak_bytes: history.allocated_peak_bytes,
        moments,
        warnings: output::json_warnings(&snapshot, &replay.warnings),
    };
    if arguments.json {
        return output::json(&report);
    }
    output::warn(&[&snapshot.warnings, &replay.warnings]);
    output::warn_unseen(device);
    print(&report)
}

fn moment_parts(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    name: String,
    moment: Moment,
) -> MomentParts {
    let free = free_memory(&replay.segment_map_at(moment));
    let row = |(class, free): (&profiler_core::metrics::FreeClass, &_)| {
        let free: &profiler_core::metrics::FreeMemory = free;
        FreeRow {
            pool: snapshot.pools.id(class.pool),
            kind: class.kind.name(),
            stream: snapshot.streams.pointer(class.stream),
            total_bytes: free.total_bytes,
            largest_bytes: free.largest_bytes,
            gaps: free.gaps,
            whole_segment_bytes: free.whole_segment_bytes,
        }
    };
    MomentParts {
        name,
        event: moment.checked_sub(1),
        parts: fragmentation_at(snapshot, replay, moment),
        free: free.iter().map(row).collect(),
    }
}

fn print(report: &Report<'_>) -> Result<(), CommandError> {
    let device = input::device_words(DeviceId(report.device));
    output::heading(&format!("{}  {device}", report.file))?;
    let of = |share: f64| format!("{:.1} %", share * 100.0);
    output::line(&format!(
        "utilisation: {} (active peak / reserved peak), {} (at the reserved peak)",
        of(report.utilisation.peak_over_peak),
        of(report.utilisation.at_reserved_peak),
    ))?;
    output::line("")?;
    let mut columns = vec![("", Align::Left)];
    columns.extend(
        report
            .moments
            .iter()
            .map(|moment| (moment.name.as_str(), Align::Right)),
    );
    let part = |name: &str, get: &dyn Fn(&Fragmentation) -> u64| {
        let cells = report.moments.iter().map(|moment| {
            let share = units::percent(get(&moment.parts), moment.parts.reserved_bytes);
            format!("{} {share:>7}", units::bytes(get(&moment.parts)))
        });
        std::iter::once(name.to_owned())
            .chain(cells)
            .collect::<Vec<_>>()
    };
    let mut rows = vec![
        part("requested", &|parts| parts.requested_bytes),
        part("+ rounding", &|parts| parts.rounding_bytes),
        part("+ slack (not split off)", &|parts| parts.slack_bytes),
        part("+ pending (other streams)", &|parts| parts.pending_bytes),
        part("+ free, in split segments", &|parts| parts.split_free_bytes),
        part("+ free, whole segments", &|parts| parts.whole_free_bytes),
        part("= reserved", &|parts| parts.reserved_bytes),
    ];
    let event = |moment: &MomentParts| {
        moment.event.map_or("before the first".to_owned(), |row| {
            units::count(u64::from(row))
        })
    };
    let events = report.moments.iter().map(event);
    rows.push(
        std::iter::once("after event".to_owned())
            .chain(events)
            .collect(),
    );
    // Where not all moments fit beside each other, those that do not follow below.
    let fitting = output::columns_that_fit(&rows, &columns, output::terminal_width());
    for (part, names) in columns[1..].chunks(fitting).enumerate() {
        if part > 0 {
            output::line("")?;
        }
        let from = 1 + part * fitting;
        let cells = |row: &Vec<String>| {
            let cells = row.iter().skip(from).take(names.len());
            row.iter().take(1).chain(cells).cloned().collect()
        };
        let names = columns.iter().take(1).chain(names).copied();
        output::table(&names.collect::<Vec<_>>(), rows.iter().map(cells).collect())?;
    }

    let Some(first) = report.moments.first() else {
        return Ok(());
    };
    output::line("")?;
    output::heading(&format!("free memory at: {}", first.name))?;
    let columns = [
        ("pool", Align::Left),
        ("class", Align::Left),
        ("stream", Align::Right),
        ("free", Align::Right),
        ("largest", Align::Right),
        ("gaps", Align::Right),
        ("in whole segments", Align::Right),
    ];
    let row = |free: &FreeRow| {
        vec![
            format!("({}, {})", free.pool.0, free.pool.1),
            free.kind.to_owned(),
            free.stream.to_string(),
            units::bytes(free.total_bytes),
            units::bytes(free.largest_bytes),
            units::count(free.gaps),
            units::bytes(free.whole_segment_bytes),
        ]
    };
    output::table(&columns, first.free.iter().map(row).collect())
}
