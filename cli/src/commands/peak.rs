//! `gpumemprof peak FILE`: who holds the memory at a moment.

use profiler_core::attribution::{Attribution, Breakdown, By};
use profiler_core::snapshot::DeviceId;
use profiler_core::units;
use serde::Serialize;

use crate::args::{PeakArguments, PeakBy};
use crate::output::{Align, JsonWarning};
use crate::{CommandError, input, moment, output};

/// The JSON form, schema `gpumemprof.peak/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    device: i32,
    at: &'a str,
    /// Row of the event that led to the moment; null before the first.
    event: Option<u32>,
    by: &'static str,
    requested_bytes: u64,
    block_bytes: u64,
    allocations: u64,
    /// Requested bytes whose group the file itself tells.
    recorded_bytes: u64,
    /// Requested bytes whose group was inferred from stacks, phases and lifetimes.
    inferred_bytes: u64,
    /// Requested bytes whose group could not be told.
    unknown_bytes: u64,
    groups: Vec<Group<'a>>,
    warnings: Vec<JsonWarning<'a>>,
}

/// One row.
#[derive(Serialize)]
struct Group<'a> {
    name: &'a str,
    is_unknown: bool,
    requested_bytes: u64,
    block_bytes: u64,
    allocations: u64,
    inferred_bytes: u64,
}

impl PeakBy {
    fn grouping(self) -> By {
        match self {
            Self::Layer => By::Layer,
            Self::Stack => By::Stack,
            Self::Function => By::Function,
            Self::File => By::File,
            Self::Line => By::Line,
            Self::Category => By::Category,
            Self::Metadata => By::Metadata,
            Self::Annotation => By::Annotation,
            Self::Range => By::Range,
            Self::CompileContext => By::CompileContext,
            Self::Step => By::Step,
            Self::Phase => By::Phase,
            Self::Stream => By::Stream,
            Self::Pool => By::Pool,
            Self::Kind => By::Kind,
            Self::Size => By::Size,
        }
    }
}

/// Prints the breakdown.
pub(super) fn run(arguments: &PeakArguments) -> Result<(), CommandError> {
    let (snapshot, replay) = input::load(&arguments.input)?;
    let device = input::pick_device(&replay, arguments.device)?;
    let moment = moment::parse(&arguments.at, &snapshot, device)?;
    let attribution = Attribution::new(&snapshot, &replay);
    let by = arguments.by.grouping();
    let live = device.live_at(moment);
    let breakdown = attribution.breakdown(&snapshot, device, &live, by);
    if !arguments.json {
        output::warn(&[&snapshot.warnings, &replay.warnings]);
        output::warn_unseen(device);
        return print(arguments, &breakdown, device.device, moment.checked_sub(1));
    }
    output::json(&Report {
        schema: "gpumemprof.peak/1",
        file: arguments.input.file.display().to_string(),
        device: device.device.0,
        at: &arguments.at,
        event: moment.checked_sub(1),
        by: by.name(),
        requested_bytes: breakdown.total.requested,
        block_bytes: breakdown.total.block,
        allocations: breakdown.total.count,
        recorded_bytes: breakdown.recorded,
        inferred_bytes: breakdown.inferred,
        unknown_bytes: breakdown.unknown,
        groups: breakdown.groups.iter().map(group).collect(),
        warnings: output::json_warnings(&snapshot, &replay.warnings),
    })
}

fn group(group: &profiler_core::attribution::Group) -> Group<'_> {
    Group {
        name: &group.label,
        is_unknown: group.is_unknown,
        requested_bytes: group.sums.requested,
        block_bytes: group.sums.block,
        allocations: group.sums.count,
        inferred_bytes: group.inferred,
    }
}

fn print(
    arguments: &PeakArguments,
    breakdown: &Breakdown,
    device: DeviceId,
    event: Option<u32>,
) -> Result<(), CommandError> {
    let total = breakdown.total.requested;
    let after = event.map_or("before the first event".to_owned(), |row| {
        format!("after event {row}")
    });
    output::heading(&format!(
        "{}  {}, {} ({after}): {} requested in {}",
        arguments.input.file.display(),
        input::device_words(device),
        arguments.at,
        units::bytes(total),
        units::counted(breakdown.total.count, "allocation", "allocations")
    ))?;
    let columns = [
        ("requested", Align::Right),
        ("share", Align::Right),
        ("allocations", Align::Right),
        (breakdown.by.name(), Align::Left),
    ];
    let limit = output::row_limit(arguments.limit);
    let shown = breakdown.groups.iter().take(limit);
    let mut rows: Vec<_> = shown
        .map(|group| {
            let inferred = group.inferred > 0 && !group.is_unknown;
            vec![
                units::bytes(group.sums.requested),
                units::percent(group.sums.requested, total),
                units::count(group.sums.count),
                format!(
                    "{}{}",
                    group.label,
                    if inferred { "  (inferred)" } else { "" }
                ),
            ]
        })
        .collect();
    let rest = breakdown.groups.get(limit..).unwrap_or(&[]);
    if !rest.is_empty() {
        let bytes: u64 = rest.iter().map(|group| group.sums.requested).sum();
        let count: u64 = rest.iter().map(|group| group.sums.count).sum();
        rows.push(vec![
            units::bytes(bytes),
            units::percent(bytes, total),
            units::count(count),
            format!("({} more; -n 0 shows all)", rest.len()),
        ]);
    }
    output::table(&columns, rows)?;
    output::line(&format!(
        "recorded {}, inferred {}, unknown {}",
        units::percent(breakdown.recorded, total),
        units::percent(breakdown.inferred, total),
        units::percent(breakdown.unknown, total),
    ))
}
