//! What if: the recorded program under other settings, on another device, or changed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::conf::ConfError;
use super::counters::Counters;
use super::curve::{CurvePoint, push_point};
use super::device::Device;
use super::map::{BlockMap, map_of};
use super::program::{Program, Step};
use super::replay::{Fidelity, Recording};
use super::run::{Ending, SimulatedRun};
use super::settings::Settings;
use super::version::TorchVersion;
use crate::snapshot::{Action, DeviceId, Snapshot};

/// The device's memory in a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    /// What the recording shows: if it ran out of memory, what the allocator held then plus what
    /// the device had free; else no limit.
    #[default]
    Recorded,
    /// No limit.
    Unlimited,
    /// Bytes for this process's allocator, per device.
    Bytes(u64),
}

/// A change of one allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not made at all.
    Drop,
    /// It asks for this many bytes.
    Resize(u64),
}

/// What to change. By default nothing: the recorded settings without a limit.
#[derive(Clone, Debug, Default)]
pub struct WhatIf {
    /// `PYTORCH_ALLOC_CONF`, instead of the recorded settings.
    pub conf: Option<String>,
    /// Which PyTorch reads the string; the oldest that can have written the file if None.
    pub version: Option<TorchVersion>,
    /// The device's memory.
    pub capacity: Capacity,
    /// What `set_per_process_memory_fraction` was given.
    pub memory_fraction: Option<f64>,
    /// Changed allocations by device and event.
    pub changes: BTreeMap<(DeviceId, u32), Change>,
    /// Whether to keep the curves.
    pub with_curves: bool,
    /// Whether to keep the memory maps.
    pub with_maps: bool,
}

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

/// Peaks and counts of one device over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Most bytes asked for and not yet freed.
    pub requested_peak_bytes: u64,
    /// Most bytes of allocated blocks.
    pub allocated_peak_bytes: u64,
    /// Most bytes held.
    pub reserved_peak_bytes: u64,
    /// Segments and page ranges taken.
    pub segment_allocs: u64,
    /// Segments and page ranges given back.
    pub segment_frees: u64,
    /// Times everything cached was given back to try again.
    pub alloc_retries: u64,
    /// The row of the first allocation that failed.
    pub oom_event: Option<u32>,
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
    /// The recording replayed, if asked for.
    pub recorded_curve: Vec<CurvePoint>,
    /// The simulation, if asked for.
    pub simulated_curve: Vec<CurvePoint>,
    /// The recorded state where the simulated one is shown, if asked for.
    pub recorded_map: Option<BlockMap>,
    /// The simulated state at the failure, or at the first moment of most reserved bytes.
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
        note_assumptions(recording, &device, what_if, &mut assumptions);
        devices.push(device);
    }
    Ok(Simulation {
        devices,
        assumptions,
    })
}

impl WhatIf {
    /// The settings asked for; None for the recorded ones.
    fn settings(
        &self,
        snapshot: &Snapshot,
        assumptions: &mut Vec<String>,
    ) -> Result<Option<Settings>, SimulateError> {
        let Some(conf) = &self.conf else {
            return Ok(None);
        };
        let version = self.version_for(snapshot);
        let settings = match Settings::from_conf(conf, version) {
            Ok(settings) => settings,
            Err(error) if self.version.is_none() && version < TorchVersion::NEWEST => {
                // The file only says which PyTorch it is at least.
                let Ok(settings) = Settings::from_conf(conf, TorchVersion::NEWEST) else {
                    return Err(error.into());
                };
                assumptions.push(format!(
                    "The settings are read as PyTorch {} reads them; the file shows {version} \
                     or newer, and {version} would refuse them.",
                    TorchVersion::NEWEST
                ));
                settings
            }
            Err(error) => return Err(error.into()),
        };
        if settings.is_malloc_async {
            return Err(SimulateError::MallocAsync);
        }
        Ok(Some(settings))
    }

    /// The version asked for, or the oldest that can have written the file.
    fn version_for(&self, snapshot: &Snapshot) -> TorchVersion {
        let oldest = || TorchVersion::at_least(&snapshot.features);
        self.version.unwrap_or_else(oldest)
    }

    fn capacity(&self, snapshot: &Snapshot, recording: &Recording) -> Option<u64> {
        match self.capacity {
            Capacity::Bytes(bytes) => Some(bytes),
            Capacity::Unlimited => None,
            Capacity::Recorded => implied_capacity(snapshot, recording),
        }
    }

    /// The program with the changes made.
    fn changed<'a>(&self, program: &'a Program) -> std::borrow::Cow<'a, Program> {
        let device = program.device;
        let mut changed = std::borrow::Cow::Borrowed(program);
        if !self.changes.keys().any(|&(on, _)| on == device) {
            return changed;
        }
        let mut dropped = std::collections::BTreeSet::new();
        let program = changed.to_mut();
        for timed in &program.steps {
            let Step::Malloc(request) = timed.step else {
                continue;
            };
            match self.changes.get(&(device, timed.event)) {
                Some(Change::Drop) => {
                    dropped.insert(request);
                }
                Some(Change::Resize(size)) => {
                    if let Some(request) = program.requests.get_mut(request as usize) {
                        request.requested = *size;
                    }
                }
                None => {}
            }
        }
        program.steps.retain(|timed| match timed.step {
            Step::Malloc(request)
            | Step::Free(request)
            | Step::FreeLater(request)
            | Step::CompleteFree(request) => !dropped.contains(&request),
            _ => true,
        });
        changed
    }
}

/// What the device had for this process's allocator when the recording first ran out of memory:
/// what was held plus what `cudaMemGetInfo` said was free. None if it never did.
#[must_use]
pub fn implied_capacity(snapshot: &Snapshot, recording: &Recording) -> Option<u64> {
    let events = &snapshot.trace(recording.program.device)?.events;
    let mut held = recording.program.start.held_bytes();
    for row in 0..events.len() {
        let size = events.size(row);
        match events.action(row) {
            Action::SegmentAlloc | Action::SegmentMap => held = held.saturating_add(size),
            Action::SegmentFree | Action::SegmentUnmap => held = held.saturating_sub(size),
            Action::Oom => return Some(held.saturating_add(events.address(row))),
            _ => {}
        }
    }
    None
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
    let mut curve = Vec::new();
    let mut peak = (0, 0);
    let mut steps = 0;
    let mut run = SimulatedRun::new(&program, recording.rules, settings, device.clone());
    let ending = run.run(|event, allocator| {
        let counters = allocator.counters();
        if counters.reserved.current > peak.1 {
            peak = (event, counters.reserved.current);
        }
        if what_if.with_curves {
            push_point(&mut curve, event, counters);
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
        recorded_curve: Vec::new(),
        simulated_curve: curve,
        recorded_map: None,
        simulated_map: None,
    };
    if what_if.with_curves {
        simulation.recorded_curve = recording.curve(snapshot);
    }
    if what_if.with_maps {
        let moment = match ending {
            Ending::OutOfMemory { event, .. } => event,
            _ => peak.0,
        };
        if !matches!(ending, Ending::OutOfMemory { .. }) {
            run = SimulatedRun::new(&program, recording.rules, settings, device);
            run.run(|event, _| event < moment);
        }
        simulation.simulated_map = Some(map_of(&run.allocator, run.handles(), &program, moment));
        simulation.recorded_map = Some(recording.map_at(snapshot, moment));
    }
    Ok(simulation)
}

/// A device as a process with these settings finds it.
pub(super) fn new_device(
    capacity: Option<u64>,
    settings: &Settings,
    memory_fraction: Option<f64>,
    version: TorchVersion,
) -> Device {
    let fraction = memory_fraction.unwrap_or(settings.per_process_memory_fraction);
    let is_limited = fraction < 1.0 || memory_fraction.is_some() && version.limits_at_one();
    // `setMemoryFraction` multiplies in doubles.
    let limit = capacity.filter(|_| is_limited);
    let limit = limit.map(|capacity| (fraction * capacity as f64) as u64);
    Device::new(capacity.unwrap_or(u64::MAX), limit)
}

fn summary(counters: &Counters, oom_event: Option<u32>) -> Summary {
    Summary {
        requested_peak_bytes: counters.requested.peak,
        allocated_peak_bytes: counters.allocated.peak,
        reserved_peak_bytes: counters.reserved.peak,
        segment_allocs: counters.device_allocs,
        segment_frees: counters.device_frees,
        alloc_retries: counters.alloc_retries,
        oom_event,
    }
}

fn recorded_summary(snapshot: &Snapshot, recording: &Recording) -> Summary {
    let mut oom_event = None;
    let mut allocs = 0;
    let mut frees = 0;
    if let Some(trace) = snapshot.trace(recording.program.device) {
        for (row, action) in trace.events.actions().iter().enumerate() {
            match action {
                Action::SegmentAlloc | Action::SegmentMap => allocs += 1,
                Action::SegmentFree | Action::SegmentUnmap => frees += 1,
                Action::Oom => oom_event = oom_event.or(Some(row as u32)),
                _ => {}
            }
        }
    }
    Summary {
        reserved_peak_bytes: recording.fidelity.peak_reserved_recorded,
        segment_allocs: allocs,
        segment_frees: frees,
        ..summary(&recording.counters, oom_event)
    }
}

fn note_assumptions(
    recording: &Recording,
    simulation: &DeviceSimulation,
    what_if: &WhatIf,
    assumptions: &mut Vec<String>,
) {
    let program = &recording.program;
    let device = program.device;
    let mut note = |text: String| {
        if !assumptions.contains(&text) {
            assumptions.push(text);
        }
    };
    if !recording.fidelity.is_exact() {
        note(format!(
            "Device {device}: the model agrees with the recording in only {:.2} % of what can be \
             compared, so what it says of other settings is an estimate.",
            recording.fidelity.share() * 100.0
        ));
    }
    if !program.start.segments.is_empty() {
        note(format!(
            "Device {device}: recording began when memory was already held. What was there is \
             kept as recorded; only what follows is simulated."
        ));
    }
    if program.late_frees > 0 {
        note(format!(
            "Device {device}: {} frees waited for another stream (record_stream). They are taken \
             to end at the same event as recorded; on a real device that depends on its speed.",
            program.late_frees
        ));
    }
    if program.empty_caches > 0 {
        note(format!(
            "Device {device}: {} runs of segments given back are read as calls of \
             torch.cuda.empty_cache() and made again; calls that had nothing to give back do not \
             show in a recording.",
            program.empty_caches
        ));
    }
    if program.requests.iter().any(|request| request.pool != 0) {
        note(format!(
            "Device {device}: memory of private pools (CUDA graphs, MemPool) is given back when \
             the recording gives it back."
        ));
    }
    match simulation.capacity {
        None => note(
            "The device has room for everything: other processes and memory outside the \
             allocator (CUDA context, NCCL, cuDNN) are not in the trace."
                .to_owned(),
        ),
        Some(bytes) => note(format!(
            "Device {device}: {bytes} bytes are there for this process's allocator; the CUDA \
             context, NCCL and other processes come on top."
        )),
    }
    match simulation.ending {
        Ending::OutOfMemory { event, .. } => note(format!(
            "Device {device}: the simulation ends at event {event}, where it runs out of memory \
             and the recording does not: what the program would have done then is unknown."
        )),
        Ending::AvoidedOutOfMemory { event } => note(format!(
            "Device {device}: the simulation ends at event {event}, where the recording runs out \
             of memory and it does not: what the program would have gone on to need is unknown."
        )),
        Ending::Finished | Ending::Stopped => {}
    }
    if !what_if.changes.is_empty() {
        note(
            "Dropped and resized allocations change nothing else: the program is taken to ask for \
             the rest as before."
                .to_owned(),
        );
    }
}
