//! What to change about a recorded program and the device it runs on.

use std::collections::BTreeMap;

use super::device::Device;
use super::program::{Program, Step};
use super::replay::Recording;
use super::settings::Settings;
use super::simulate::SimulateError;
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
    /// Whether to keep the curve.
    pub with_curves: bool,
    /// Parts the run is cut in, each keeping only its highest and its last point; every point
    /// if None.
    pub curve_parts: Option<u32>,
    /// Whether to keep the memory maps (up to three more runs).
    pub with_maps: bool,
}

impl WhatIf {
    /// The settings asked for; None for the recorded ones.
    pub(super) fn settings(
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
    pub(super) fn version_for(&self, snapshot: &Snapshot) -> TorchVersion {
        let oldest = || TorchVersion::at_least(&snapshot.features);
        self.version.unwrap_or_else(oldest)
    }

    pub(super) fn capacity(&self, snapshot: &Snapshot, recording: &Recording) -> Option<u64> {
        match self.capacity {
            Capacity::Bytes(bytes) => Some(bytes),
            Capacity::Unlimited => None,
            Capacity::Recorded => implied_capacity(snapshot, recording),
        }
    }

    /// The program with the changes made.
    pub(super) fn changed<'a>(&self, program: &'a Program) -> std::borrow::Cow<'a, Program> {
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
