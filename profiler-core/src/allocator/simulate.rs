//! What if: the recorded program under other settings, on another device, or changed.

use std::ops::ControlFlow;

use super::assumptions::note_assumptions;
use super::conf::ConfError;
use super::counters::Counters;
use super::curve::{CurveBuilder, CurvePoint};
use super::fidelity::Fidelity;
use super::map::{BlockMap, map_of};
use super::replay::Recording;
use super::run::{Ending, SimulatedRun};
use super::settings::Settings;
use super::summary::{Summary, recorded_summary, summary};
use super::what_if::{WhatIf, new_device};
use crate::snapshot::{DeviceId, Snapshot};

/// Why there is no simulation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The file names more devices than PyTorch can have.
    #[error(
        "the snapshot has history of {0} devices; PyTorch can have no more than 128, so the file \
         is damaged: take it again"
    )]
    TooManyDevices(usize),
    /// The file has no history of any device.
    #[error(
        "the snapshot has no allocation history to simulate: it has to be taken after \
         torch.cuda.memory._record_memory_history()"
    )]
    NoHistory,
    /// PyTorch would refuse the settings.
    #[error("these settings would be refused: {0}")]
    Conf(#[from] ConfError),
    /// There is no caching allocator with this backend.
    #[error("backend:cudaMallocAsync has no caching allocator to simulate: the driver decides")]
    MallocAsync,
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// One device's recorded and simulated run.
#[derive(Clone, Debug)]
pub struct DeviceSimulation {
    /// The device.
    pub device: DeviceId,
    /// How far the model agrees with the recording: what the simulation rests on.
    pub fidelity: Fidelity,
    /// Settings of the simulated run.
    pub settings: Settings,
    /// The device's memory in it, if limited.
    pub capacity: Option<u64>,
    /// As recorded.
    pub recorded: Summary,
    /// As simulated.
    pub simulated: Summary,
    /// The allocator's counters over the simulated run.
    pub counters: Counters,
    /// Allocations served in it.
    pub served: u64,
    /// How it ended.
    pub ending: Ending,
    /// What the device held, if asked for; for the recording itself see [`Recording::curve`].
    pub simulated_curve: Vec<CurvePoint>,
    /// The recorded state where the simulated one is shown, if asked for.
    pub recorded_map: Option<BlockMap>,
    /// The simulated state, if asked for: at the first failure, be it of the simulation or one of
    /// the recording that the simulation avoids (the request that failed then has its block);
    /// without one where the recording first holds most.
    pub simulated_map: Option<BlockMap>,
}

/// A simulation of a whole snapshot.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Every device with history, ascending.
    pub devices: Vec<DeviceSimulation>,
    /// What the trace does not tell, in sentences.
    pub assumptions: Vec<String>,
}

/// Steps done and steps in all; break to stop.
pub type SimulateProgress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Runs the recorded program again with `what_if`.
///
/// # Errors
/// When there is no history, or PyTorch would refuse the settings.
pub fn simulate(
    snapshot: &Snapshot,
    what_if: &WhatIf,
    progress: &mut SimulateProgress<'_>,
) -> Result<Simulation, SimulateError> {
    let recordings = recordings(snapshot)?;
    simulate_recordings(snapshot, &recordings, what_if, progress)
}

/// The recordings of all devices with history.
///
/// # Errors
/// When there is none, or for more than [`Snapshot::MAX_DEVICES`].
pub fn recordings(snapshot: &Snapshot) -> Result<Vec<Recording>, SimulateError> {
    let mut devices: Vec<DeviceId> = snapshot
        .traces
        .iter()
        .filter(|trace| trace.device != DeviceId::HOST && !trace.events.is_empty())
        .map(|trace| trace.device)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    if devices.is_empty() {
        return Err(SimulateError::NoHistory);
    }
    if devices.len() > Snapshot::MAX_DEVICES {
        return Err(SimulateError::TooManyDevices(devices.len()));
    }
    Ok(devices
        .into_iter()
        .map(|device| Recording::new(snapshot, device))
        .collect())
}

/// [`simulate`] on recordings already replayed ([`recordings`]): many simulations of one file.
///
/// # Errors
/// When PyTorch would refuse the settings.
pub fn simulate_recordings(
    snapshot: &Snapshot,
    recordings: &[Recording],
    what_if: &WhatIf,
    progress: &mut SimulateProgress<'_>,
) -> Result<Simulation, SimulateError> {
    let mut assumptions = Vec::new();
    let settings = what_if.settings(snapshot, &mut assumptions)?;
    let all: u64 = recordings
        .iter()
        .map(|r| r.program.steps.len() as u64)
        .sum();
    let mut done = 0;
    let mut devices = Vec::new();
    for recording in recordings {
        let settings = settings.as_ref().unwrap_or(&recording.settings);
        let device = one_device(snapshot, recording, settings, what_if, &mut |steps| {
            progress(done + steps, all)
        })?;
        done += recording.program.steps.len() as u64;
        note_assumptions(snapshot, recording, &device, what_if, &mut assumptions);
        devices.push(device);
    }
    Ok(Simulation {
        devices,
        assumptions,
    })
}

/// How many steps pass between two reports of progress.
const STEPS_PER_REPORT: u64 = 1 << 16;

fn one_device(
    snapshot: &Snapshot,
    recording: &Recording,
    settings: &Settings,
    what_if: &WhatIf,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<DeviceSimulation, SimulateError> {
    let program = what_if.changed(&recording.program);
    let capacity = what_if.capacity(snapshot, recording);
    let version = what_if.version_for(snapshot);
    let device = new_device(capacity, settings, what_if.memory_fraction, version);
    let mut curve = CurveBuilder::new(program.event_count(), what_if.curve_parts);
    let mut steps = 0;
    let mut run = SimulatedRun::new(&program, recording.rules, settings, device.clone());
    let ending = run.run(|event, allocator| {
        let counters = allocator.counters();
        if what_if.with_curves {
            curve.push(event, counters);
        }
        steps += 1;
        steps % STEPS_PER_REPORT != 0 || progress(steps).is_continue()
    });
    if ending == Ending::Stopped {
        return Err(SimulateError::Stopped);
    }
    let shared_oom = run.shared_oom;
    let oom_event = match ending {
        Ending::OutOfMemory { event, .. } => shared_oom.or(Some(event)),
        _ => shared_oom,
    };
    let counters = *run.allocator.counters();
    let mut simulation = DeviceSimulation {
        device: program.device,
        fidelity: recording.fidelity.clone(),
        settings: settings.clone(),
        capacity,
        recorded: recorded_summary(snapshot, recording),
        simulated: summary(&counters, oom_event),
        counters,
        served: run.served,
        ending,
        simulated_curve: curve.finish(),
        recorded_map: None,
        simulated_map: None,
    };
    if what_if.with_maps {
        let avoided = run.avoided.map(|(_, event)| event);
        let failure = oom_event.or(avoided);
        let moment = failure.unwrap_or_else(|| recording.peak_event(snapshot));
        let ended_there = match ending {
            Ending::OutOfMemory { event, .. } | Ending::AvoidedOutOfMemory { event } => {
                event == moment
            }
            Ending::Finished | Ending::Stopped => false,
        };
        if !ended_there {
            run = SimulatedRun::new(&program, recording.rules, settings, device);
            run.run(|event, _| event < moment);
        }
        simulation.simulated_map = Some(map_of(
            &run.allocator,
            run.handles(),
            &program,
            moment,
            run.avoided,
        ));
        simulation.recorded_map = Some(recording.map_at(snapshot, moment));
    }
    Ok(simulation)
}
