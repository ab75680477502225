//! `gpumemprof advise FILE`: which allocator settings would have served the program better.

use std::ops::ControlFlow;

use profiler_core::allocator::{
    AdviseOptions, Candidate, DeviceAdvice, Fidelity, GpuFit, advise_recordings, recordings,
};
use profiler_core::units;
use serde::Serialize;

use crate::args::AdviseArguments;
use crate::commands::simulate::{check_capacity, refused};
use crate::output::Align;
use crate::{CommandError, input, output};

/// The JSON form, schema `gpumemprof.advise/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    devices: &'a [DeviceAdvice],
    assumptions: &'a [String],
}

/// Prints settings, best first, and what bounds them.
pub(super) fn run(arguments: &AdviseArguments) -> Result<(), CommandError> {
    let snapshot = input::load_snapshot(&arguments.input)?;
    let options = AdviseOptions {
        capacity: arguments.capacity,
        version: arguments.torch,
        ..AdviseOptions::default()
    };
    let mut bar = input::Bar::new(arguments.input.quiet);
    let recordings = recordings(&snapshot).map_err(refused)?;
    check_capacity(arguments.capacity, &recordings)?;
    let advice = advise_recordings(&snapshot, &recordings, &options, &mut |done, all| {
        bar.steps("simulating settings", done, all);
        ControlFlow::Continue(())
    })
    .map_err(refused)?;
    drop(bar);
    if arguments.json {
        return output::json(&Report {
            schema: "gpumemprof.advise/1",
            file: arguments.input.file.display().to_string(),
            devices: &advice.devices,
            assumptions: &advice.assumptions,
        });
    }
    output::warn(&[&snapshot.warnings]);
    for (device, fidelity) in advice.devices.iter().zip(&advice.fidelity) {
        print(device, fidelity)?;
    }
    output::heading("assumptions")?;
    for assumption in &advice.assumptions {
        output::bullet(assumption)?;
    }
    Ok(())
}

/// Below this share of agreement nothing is said of other settings: a ranking would rest on
/// nothing. Recordings of real allocators agree in full.
const LEAST_FIDELITY: f64 = 0.9;

fn print(device: &DeviceAdvice, replayed: &Fidelity) -> Result<(), CommandError> {
    if replayed.share() < LEAST_FIDELITY {
        output::heading(&format!(
            "device {}: no advice, because the model does not explain this recording",
            device.device
        ))?;
        return output::paragraph(&fidelity(replayed));
    }
    output::heading(&format!("device {}: {}", device.device, device.verdict))?;
    print_best(device)?;
    output::line("")?;
    let mut columns = vec![
        ("settings", Align::Left),
        ("peak reserved", Align::Right),
        ("runs from", Align::Right),
        ("driver calls", Align::Right),
    ];
    let capacity = device
        .capacity_bytes
        .map(|bytes| format!("in {}", units::bytes(bytes)));
    if let Some(name) = &capacity {
        columns.push((name, Align::Left));
    }
    let is_same = |candidate: &&Candidate| {
        device.recorded_candidate().is_some_and(|recorded| {
            !candidate.is_recorded
                && (&candidate.simulated, &candidate.at_capacity)
                    == (&recorded.simulated, &recorded.at_capacity)
                && candidate.smallest_capacity_bytes == recorded.smallest_capacity_bytes
        })
    };
    let (same, different): (Vec<_>, Vec<_>) = device.candidates.iter().partition(is_same);
    output::table(&columns, different.into_iter().map(row).collect())?;
    if !same.is_empty() {
        let names: Vec<String> = same.into_iter().map(name).collect();
        output::paragraph(&format!("The same as recorded: {}.", names.join("; ")))?;
    }
    output::paragraph(
        "Peak and driver calls without a memory limit. Runs from: the smallest capacity that \
         serves everything recorded, in steps of 2 MiB.",
    )?;
    output::line("")?;
    print_bound(device)?;
    output::paragraph(&fidelity(replayed))?;
    output::line("")?;
    print_gpus(device)
}

/// The line to paste, and its evidence.
fn print_best(device: &DeviceAdvice) -> Result<(), CommandError> {
    let (Some(best), Some(candidate), Some(recorded)) = (
        &device.best,
        device.best_candidate(),
        device.recorded_candidate(),
    ) else {
        return Ok(());
    };
    output::line("")?;
    output::line(&format!("  export {}", best.environment))?;
    output::line("")?;
    if let (true, Some(capacity), Some(run)) = (
        best.is_rescue,
        device.capacity_bytes,
        &candidate.at_capacity,
    ) {
        output::paragraph(&format!(
            "In {} the recorded settings run out of memory; with this line everything up to and \
             with that request is served, with at most {} reserved.",
            units::bytes(capacity),
            units::bytes(run.reserved_peak_bytes)
        ))?;
    }
    let mut text = format!(
        "Peak reserved without a limit: {} instead of {}.",
        units::bytes(candidate.simulated.reserved_peak_bytes),
        units::bytes(recorded.simulated.reserved_peak_bytes)
    );
    if let (Some(now), Some(before)) = (
        candidate.smallest_capacity_bytes,
        recorded.smallest_capacity_bytes,
    ) {
        text.push_str(&format!(
            " Smallest capacity that serves everything recorded: {} instead of {}.",
            units::bytes(now),
            units::bytes(before)
        ));
    }
    output::paragraph(&text)
}

/// The bracket around the least memory possible.
fn print_bound(device: &DeviceAdvice) -> Result<(), CommandError> {
    let bound = &device.bound;
    let (sure, most) = device.avoidable_bytes();
    let failed = if bound.counts_failed_requests {
        ", the request that failed included"
    } else {
        ""
    };
    let share = if sure == most {
        format!(
            "{} are avoidable in principle, and not more",
            units::bytes(most)
        )
    } else {
        format!(
            "at least {} are avoidable in principle, and at most {}",
            units::bytes(sure),
            units::bytes(most)
        )
    };
    output::paragraph(&format!(
        "At most {} are live at once{failed}: no allocator does with less. Packed by one that \
         knows the future they take {}. So of the {} peak {share}.",
        units::bytes(bound.load_bytes),
        units::bytes(bound.packing_bytes),
        units::bytes(bound.load_bytes.saturating_add(most)),
    ))
}

fn fidelity(replayed: &Fidelity) -> String {
    let Some(first) = &replayed.first_disagreement else {
        return "Fidelity 100 %: under the recorded settings the model does everything as recorded."
            .to_owned();
    };
    format!(
        "Fidelity {:.2} %: the model does not explain all of this recording, so what is said of \
         other settings is an estimate. First difference at event {}: {}.",
        replayed.share() * 100.0,
        first.event,
        first.explanation
    )
}

/// The smallest GPUs the program fits, and those it does not.
fn print_gpus(device: &DeviceAdvice) -> Result<(), CommandError> {
    /// How many GPUs with room are listed.
    const FITTING: usize = 4;
    let fits = |fit: &&GpuFit| fit.room_bytes >= 0 && fit.best_room_bytes >= 0;
    let listed = device.gpus.iter().filter(|fit| !fits(fit)).count() + FITTING;
    let rows = device.gpus.iter().take(listed).map(|fit| {
        let room = |bytes: i64| {
            let size = units::bytes(bytes.unsigned_abs());
            if bytes < 0 {
                format!("{size} short")
            } else {
                format!("{size} left")
            }
        };
        let mut row = vec![
            fit.gpu.name.to_owned(),
            units::bytes(fit.gpu.total_bytes),
            room(fit.room_bytes),
        ];
        if device.best.is_some() {
            row.push(room(fit.best_room_bytes));
        }
        row
    });
    let mut columns = vec![
        ("GPU", Align::Left),
        ("memory", Align::Right),
        ("as recorded", Align::Right),
    ];
    if device.best.is_some() {
        columns.push(("with the line above", Align::Right));
    }
    output::table(&columns, rows.collect())?;
    let larger = device.gpus.len().saturating_sub(listed);
    let more = if larger > 0 {
        format!("It fits the {larger} larger ones of the table too (--json lists them). ")
    } else {
        String::new()
    };
    output::paragraph(&format!(
        "{more}What is left also has to hold the CUDA context (a few hundred MiB) and what \
         libraries take outside PyTorch.",
    ))?;
    output::line("")
}

/// The settings as a table shows them, broken between options where it is narrow.
fn name(candidate: &Candidate) -> String {
    if candidate.conf.is_empty() {
        "(defaults)".to_owned()
    } else {
        candidate.conf.replace(',', ", ")
    }
}

fn row(candidate: &Candidate) -> Vec<String> {
    let mut name = name(candidate);
    if candidate.is_recorded {
        name.push_str(" (recorded)");
    }
    let mut row = vec![
        name,
        units::bytes(candidate.simulated.reserved_peak_bytes),
        candidate
            .smallest_capacity_bytes
            .map_or_else(|| "–".to_owned(), units::bytes),
        candidate.driver_calls().to_string(),
    ];
    if let Some(summary) = &candidate.at_capacity {
        row.push(match summary.oom_event {
            Some(event) => format!("OOM at event {event}"),
            None if summary.alloc_retries == 1 => "runs, 1 retry".to_owned(),
            None if summary.alloc_retries > 1 => {
                format!("runs, {} retries", summary.alloc_retries)
            }
            None => "runs".to_owned(),
        });
    }
    row
}
