//! `gpumemprof advise FILE`: which allocator settings would have served the program better.

use std::ops::ControlFlow;

use profiler_core::allocator::{AdviseOptions, Candidate, DeviceAdvice, advise};
use profiler_core::units;
use serde::Serialize;

use crate::args::AdviseArguments;
use crate::commands::simulate::refused;
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
        threads: None,
    };
    let mut bar = input::Bar::new(arguments.input.quiet);
    let advice = advise(&snapshot, &options, &mut |done, all| {
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
    for device in &advice.devices {
        print(device)?;
    }
    output::heading("assumptions")?;
    for assumption in &advice.assumptions {
        output::line(&format!("* {assumption}"))?;
    }
    Ok(())
}

fn print(device: &DeviceAdvice) -> Result<(), CommandError> {
    output::heading(&format!("device {}: {}", device.device, device.verdict))?;
    if let Some(best) = &device.best {
        output::line(&format!("  export {}", best.environment))?;
        output::line(&format!(
            "  peak reserved {} less",
            units::bytes(best.saves_bytes)
        ))?;
    }
    output::line("")?;
    let has_capacity = device.candidates.iter().any(|c| c.at_capacity.is_some());
    let mut columns = vec![
        ("settings", Align::Left),
        ("peak reserved", Align::Right),
        ("runs from", Align::Right),
        ("driver calls", Align::Right),
    ];
    if has_capacity {
        columns.push(("at the capacity asked", Align::Left));
    }
    let rows = device.candidates.iter().map(row).collect();
    output::table(&columns, rows)?;
    output::line("")?;
    let bound = &device.bound;
    let recorded = device.recorded.reserved_peak_bytes;
    output::line(&format!(
        "live bytes need {} at least; a placement that knows the future takes {}: {} of the \
         recorded peak can be avoided, and no more than {}",
        units::bytes(bound.load_bytes),
        units::bytes(bound.packing_bytes),
        units::bytes(recorded.saturating_sub(bound.packing_bytes)),
        units::bytes(recorded.saturating_sub(bound.load_bytes)),
    ))?;
    output::line(&format!("fidelity {:.2} %", device.fidelity * 100.0))?;
    output::line("")?;
    let rows = device.gpus.iter().map(|fit| {
        let room = |bytes: i64| {
            let size = units::bytes(bytes.unsigned_abs());
            if bytes < 0 {
                format!("{size} short")
            } else {
                format!("{size} left")
            }
        };
        vec![
            fit.gpu.name.to_owned(),
            units::bytes(fit.gpu.total_bytes),
            room(fit.room_bytes),
            room(fit.best_room_bytes),
        ]
    });
    output::table(
        &[
            ("GPU", Align::Left),
            ("memory", Align::Right),
            ("as recorded", Align::Right),
            ("best settings", Align::Right),
        ],
        rows.collect(),
    )?;
    output::line(
        "What is left also has to hold the CUDA context (a few hundred MiB) and what libraries \
         take outside PyTorch.",
    )?;
    output::line("")
}

fn row(candidate: &Candidate) -> Vec<String> {
    let mut name = if candidate.conf.is_empty() {
        "(defaults)".to_owned()
    } else {
        candidate.conf.clone()
    };
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
            Some(event) => format!("runs out of memory at event {event}"),
            None if summary.alloc_retries == 1 => "runs after one retry".to_owned(),
            None if summary.alloc_retries > 1 => {
                format!("runs after {} retries", summary.alloc_retries)
            }
            None => "runs".to_owned(),
        });
    }
    row
}
