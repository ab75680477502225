//! `gpumemprof simulate FILE`: the recorded program under other settings or on another device.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use profiler_core::allocator::{
    Capacity, Change, CurvePoint, DeviceSimulation, Ending, Recording, SimulateError, Simulation,
    Summary, WhatIf, recordings, simulate_recordings,
};
use profiler_core::attribution::{Attribution, Phase};
use profiler_core::replay::Replay;
use profiler_core::snapshot::{DeviceId, Snapshot};
use profiler_core::units;
use serde::Serialize;

use crate::args::SimulateArguments;
use crate::output::Align;
use crate::{CommandError, input, output};

/// The JSON form, schema `gpumemprof.simulate/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    /// The settings asked for; null for the recorded ones.
    alloc_conf: Option<&'a str>,
    devices: Vec<Device<'a>>,
    assumptions: &'a [String],
}

/// One device.
#[derive(Serialize)]
struct Device<'a> {
    device: i32,
    /// Share of what can be compared in which the model agrees with the recording.
    fidelity: f64,
    /// Where they first differ.
    first_disagreement: Option<&'a str>,
    /// The device's memory in the simulation; null without a limit.
    capacity_bytes: Option<u64>,
    /// What a memory fraction allows of it; null without one.
    limit_bytes: Option<u64>,
    recorded: &'a Summary,
    simulated: &'a Summary,
    /// How the simulation ended: `finished`, `out-of-memory` or `avoided-out-of-memory`.
    ending: &'static str,
    /// Reserved and allocated bytes over time, at most [`POINTS`] moments.
    fragmentation: Vec<Point>,
}

/// What the device holds after an event.
#[derive(Serialize)]
struct Point {
    event: u32,
    reserved_bytes: u64,
    allocated_bytes: u64,
}

/// Moments shown of the fragmentation over time.
const POINTS: usize = 100;

/// Prints recorded against simulated.
pub(super) fn run(arguments: &SimulateArguments) -> Result<(), CommandError> {
    let snapshot = input::load_snapshot(&arguments.input)?;
    let what_if = WhatIf {
        conf: arguments.alloc_conf.clone(),
        version: arguments.torch,
        capacity: arguments.capacity,
        memory_fraction: arguments.memory_fraction,
        changes: changes(arguments, &snapshot)?,
        with_curves: true,
        ..WhatIf::default()
    };
    let mut bar = input::Bar::new(arguments.input.quiet);
    let recordings = recordings(&snapshot).map_err(refused)?;
    check_capacity(arguments.capacity, &recordings)?;
    let simulation = simulate_recordings(&snapshot, &recordings, &what_if, &mut |done, all| {
        bar.steps("simulating", done, all);
        ControlFlow::Continue(())
    })
    .map_err(refused)?;
    drop(bar);
    check_fraction(arguments.memory_fraction, &simulation)?;
    if arguments.json {
        return output::json(&Report {
            schema: "gpumemprof.simulate/1",
            file: arguments.input.file.display().to_string(),
            alloc_conf: arguments.alloc_conf.as_deref(),
            devices: (simulation.devices.iter())
                .map(|one| device(one, arguments.memory_fraction))
                .collect(),
            assumptions: &simulation.assumptions,
        });
    }
    output::warn(&[&snapshot.warnings]);
    print(&simulation, arguments)
}

/// A share of an unknown whole would change nothing, and look as if it did.
fn check_fraction(fraction: Option<f64>, simulation: &Simulation) -> Result<(), CommandError> {
    let unlimited = simulation.devices.iter().find(|one| one.capacity.is_none());
    match (fraction, unlimited) {
        (Some(_), Some(device)) => Err(CommandError::Usage(format!(
            "--memory-fraction is a share of the device's memory, and device {} has no limit in \
             this simulation: give its memory with --capacity",
            device.device
        ))),
        _ => Ok(()),
    }
}

/// The fraction of the device's memory that is allowed, and what that is in bytes; None where all
/// is, or where the device has no limit.
fn limit(device: &DeviceSimulation, fraction: Option<f64>) -> Option<(f64, u64)> {
    let fraction = fraction.unwrap_or(device.settings.per_process_memory_fraction);
    // As `setMemoryFraction`, in doubles.
    let of = |capacity: u64| (fraction, (fraction * capacity as f64) as u64);
    device.capacity.filter(|_| fraction < 1.0).map(of)
}

/// A recording that begins with more memory held than the simulated device has cannot tell how
/// the program would have got there.
pub(super) fn check_capacity(
    capacity: Capacity,
    recordings: &[Recording],
) -> Result<(), CommandError> {
    let Capacity::Bytes(capacity) = capacity else {
        return Ok(());
    };
    for recording in recordings {
        let held = recording.program.start.held_bytes();
        if held > capacity {
            return Err(CommandError::NotThere(format!(
                "device {}: the recording begins with {} already reserved, more than the {} asked \
                 for, and does not tell how the program got there; record from the first \
                 allocation on, or simulate at least that much",
                recording.program.device,
                units::bytes(held),
                units::bytes(capacity)
            )));
        }
    }
    Ok(())
}

/// Settings that PyTorch would refuse are bad usage; a file without history is not.
pub(super) fn refused(error: SimulateError) -> CommandError {
    match error {
        SimulateError::NoHistory | SimulateError::Stopped => {
            CommandError::NotThere(error.to_string())
        }
        _ => CommandError::Usage(error.to_string()),
    }
}

/// The allocations that `--drop` and `--scale` change.
fn changes(
    arguments: &SimulateArguments,
    snapshot: &Snapshot,
) -> Result<BTreeMap<(DeviceId, u32), Change>, CommandError> {
    let mut changes = BTreeMap::new();
    if arguments.drop.is_empty() && arguments.scale.is_empty() {
        return Ok(changes);
    }
    let replay = Replay::new(snapshot);
    let attribution = Attribution::new(snapshot, &replay);
    let mut dropped = vec![0_u64; arguments.drop.len()];
    for (device, known) in replay.devices.iter().zip(&attribution.devices) {
        for id in device.allocations.ids() {
            let allocation = device.allocations.get(id);
            let Some(event) = allocation.alloc_event() else {
                continue;
            };
            let path = attribution.layers.path(known.layer(id).0);
            let phase = known.phase(id);
            let matching = arguments.drop.iter().position(|layer| {
                let rest = path.strip_prefix(layer.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if let Some(index) = matching {
                changes.insert((device.device, event), Change::Drop);
                if let Some(count) = dropped.get_mut(index) {
                    *count += 1;
                }
                continue;
            }
            let factor = arguments.scale.iter().find(|(scaled, _)| *scaled == phase);
            if let Some((_, factor)) = factor {
                let size = (allocation.requested as f64 * factor).round() as u64;
                changes.insert((device.device, event), Change::Resize(size));
            }
        }
    }
    for (layer, count) in arguments.drop.iter().zip(dropped) {
        if count == 0 {
            return Err(CommandError::NotThere(format!(
                "no recorded allocation belongs to a layer {layer:?}; `gpumemprof peak --by \
                 layer` lists the layers"
            )));
        }
    }
    Ok(changes)
}

fn device(simulation: &DeviceSimulation, fraction: Option<f64>) -> Device<'_> {
    let disagreement = simulation.fidelity.first_disagreement.as_ref();
    Device {
        device: simulation.device.0,
        fidelity: simulation.fidelity.share(),
        first_disagreement: disagreement.map(|first| first.explanation.as_str()),
        capacity_bytes: simulation.capacity,
        limit_bytes: limit(simulation, fraction).map(|(_, bytes)| bytes),
        recorded: &simulation.recorded,
        simulated: &simulation.simulated,
        ending: match simulation.ending {
            Ending::Finished | Ending::Stopped => "finished",
            Ending::OutOfMemory { .. } => "out-of-memory",
            Ending::AvoidedOutOfMemory { .. } => "avoided-out-of-memory",
        },
        fragmentation: points(&simulation.simulated_curve, POINTS),
    }
}

/// At most `count` of a curve's points: of each part of the run the one with the most reserved
/// bytes.
fn points(curve: &[CurvePoint], count: usize) -> Vec<Point> {
    let part = curve.len().div_ceil(count).max(1);
    let highest = |part: &[CurvePoint]| {
        part.iter().copied().reduce(|best, next| {
            if next.reserved > best.reserved {
                next
            } else {
                best
            }
        })
    };
    curve
        .chunks(part)
        .filter_map(highest)
        .map(|point| Point {
            event: point.event,
            reserved_bytes: point.reserved,
            allocated_bytes: point.allocated,
        })
        .collect()
}

fn print(simulation: &Simulation, arguments: &SimulateArguments) -> Result<(), CommandError> {
    for device in &simulation.devices {
        output::heading(&format!("device {}: {}", device.device, lead(device)))?;
        output::paragraph(&conditions(device, arguments))?;
        output::line("")?;
        let (recorded, simulated) = (&device.recorded, &device.simulated);
        let bytes = |name: &str, recorded: u64, simulated: u64| {
            // A run that ended early has less of everything, which says nothing.
            let ended = matches!(device.ending, Ending::OutOfMemory { .. });
            let change = if recorded == simulated || ended {
                String::new()
            } else {
                let sign = if simulated > recorded { "+" } else { "−" };
                format!("{sign}{}", units::bytes(simulated.abs_diff(recorded)))
            };
            vec![
                name.to_owned(),
                units::bytes(recorded),
                units::bytes(simulated),
                change,
            ]
        };
        let count = |name: &str, recorded: u64, simulated: u64| {
            vec![
                name.to_owned(),
                recorded.to_string(),
                simulated.to_string(),
                String::new(),
            ]
        };
        let fails = |event: Option<u32>| {
            event.map_or_else(|| "no".to_owned(), |event| format!("at event {event}"))
        };
        let rows = vec![
            bytes(
                "peak reserved",
                recorded.reserved_peak_bytes,
                simulated.reserved_peak_bytes,
            ),
            bytes(
                "peak allocated",
                recorded.allocated_peak_bytes,
                simulated.allocated_peak_bytes,
            ),
            bytes(
                "peak requested",
                recorded.requested_peak_bytes,
                simulated.requested_peak_bytes,
            ),
            count(
                "segments and pages taken",
                recorded.segment_allocs,
                simulated.segment_allocs,
            ),
            count(
                "given back",
                recorded.segment_frees,
                simulated.segment_frees,
            ),
            count("retries", recorded.alloc_retries, simulated.alloc_retries),
            vec![
                "out of memory".to_owned(),
                fails(recorded.oom_event),
                fails(simulated.oom_event),
                String::new(),
            ],
        ];
        output::table(
            &[
                ("", Align::Left),
                ("recorded", Align::Right),
                ("simulated", Align::Right),
                ("change", Align::Right),
            ],
            rows,
        )?;
        output::line("")?;
        print_fragmentation(&device.simulated_curve)?;
        output::line("")?;
        output::paragraph(&fidelity_line(device))?;
        if !device.fidelity.is_exact() {
            output::paragraph(
                "Of such a recording, peak allocated is the least it can have been (requests \
                 rounded up), and retries are those of the part that was replayed.",
            )?;
        }
        output::line("")?;
    }
    output::heading("assumptions")?;
    for assumption in &simulation.assumptions {
        output::bullet(assumption)?;
    }
    Ok(())
}

/// What came out, first of all.
fn lead(device: &DeviceSimulation) -> String {
    match device.ending {
        Ending::OutOfMemory { event, failure } => format!(
            "runs out of memory at event {event}, asked for {}",
            units::bytes(failure.rounded)
        ),
        Ending::AvoidedOutOfMemory { event } => {
            format!("serves the request that failed in the recording (event {event})")
        }
        Ending::Finished | Ending::Stopped => match device.simulated.oom_event {
            Some(event) => format!("runs out of memory at event {event}, as recorded"),
            None => "runs to the end".to_owned(),
        },
    }
}

/// What was simulated.
fn conditions(device: &DeviceSimulation, arguments: &SimulateArguments) -> String {
    let settings = match arguments.alloc_conf.as_deref() {
        None => "the recorded settings".to_owned(),
        Some("") => "the default settings".to_owned(),
        Some(conf) => conf.to_owned(),
    };
    let memory = device.capacity.map_or_else(
        || "no memory limit".to_owned(),
        |bytes| memory(bytes, device, arguments),
    );
    format!("with {settings}, and {memory}")
}

/// The memory there is, and the part of it that a memory fraction leaves.
fn memory(capacity: u64, device: &DeviceSimulation, arguments: &SimulateArguments) -> String {
    let Some((fraction, limit)) = limit(device, arguments.memory_fraction) else {
        return format!("{} of memory", units::bytes(capacity));
    };
    let (limit, capacity) = (units::bytes(limit), units::bytes(capacity));
    match arguments.capacity {
        Capacity::Bytes(_) => {
            format!("a limit of {limit}: the memory fraction {fraction} of the {capacity} given")
        }
        _ => format!(
            "a limit of {limit}: the memory fraction {fraction} of {capacity}, what PyTorch held \
             and the driver had free when the recording ran out of memory. PyTorch takes the \
             fraction of the device's whole memory: give that as --capacity"
        ),
    }
}

fn print_fragmentation(curve: &[CurvePoint]) -> Result<(), CommandError> {
    let rows: Vec<Vec<String>> = points(curve, 8)
        .into_iter()
        .map(|point| {
            let free = point.reserved_bytes.saturating_sub(point.allocated_bytes);
            let share = if point.reserved_bytes == 0 {
                0.0
            } else {
                free as f64 / point.reserved_bytes as f64 * 100.0
            };
            vec![
                point.event.to_string(),
                units::bytes(point.reserved_bytes),
                units::bytes(point.allocated_bytes),
                format!("{share:.1} %"),
            ]
        })
        .collect();
    output::table(
        &[
            ("after event", Align::Right),
            ("reserved", Align::Right),
            ("allocated", Align::Right),
            ("not allocated", Align::Right),
        ],
        rows,
    )
}

fn fidelity_line(device: &DeviceSimulation) -> String {
    let fidelity = &device.fidelity;
    let mut text = format!(
        "fidelity {:.2} %: under the recorded settings the model puts {} of {} allocations where \
         the recording has them",
        fidelity.share() * 100.0,
        fidelity.placed,
        fidelity.allocations
    );
    if let Some(first) = &fidelity.first_disagreement {
        text.push_str(&format!(
            "; first difference at event {}: {}",
            first.event, first.explanation
        ));
    }
    text
}

/// `forward=1.5` as `--scale` takes it.
pub(crate) fn parse_scale(text: &str) -> Result<(Phase, f64), String> {
    let expected = || {
        "expected a phase and a factor, such as forward=1.5 (setup, data, forward, backward, \
         optimizer)"
            .to_owned()
    };
    let (phase, factor) = text.split_once('=').ok_or_else(expected)?;
    let phase = Phase::from_name(phase).ok_or_else(expected)?;
    let factor: f64 = factor.trim().parse().map_err(|_| expected())?;
    if factor.is_finite() && (0.0..=1e6).contains(&factor) {
        Ok((phase, factor))
    } else {
        Err(expected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read() {
        assert_eq!(parse_scale("forward=1.5"), Ok((Phase::Forward, 1.5)));
        assert!(parse_scale("forward").is_err());
        assert!(parse_scale("sideways=2").is_err());
        assert!(parse_scale("data=-1").is_err());
    }

    #[test]
    fn curves_are_thinned_to_their_highest_points() {
        let curve: Vec<CurvePoint> = (0..10)
            .map(|event| CurvePoint {
                event,
                reserved: u64::from(event % 4),
                allocated: 0,
            })
            .collect();
        let shown: Vec<u32> = points(&curve, 2).iter().map(|point| point.event).collect();
        assert_eq!(shown, [3, 7]);
        assert_eq!(points(&curve, 100).len(), 10);
        assert!(points(&[], 5).is_empty());
    }
}
