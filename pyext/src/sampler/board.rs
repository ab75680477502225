//! One board as NVML describes it.

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::Serialize;

/// What does not change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Board {
    /// NVML's number, which `CUDA_VISIBLE_DEVICES` does not change.
    pub index: u32,
    /// Its product name.
    pub name: Option<String>,
    /// `GPU-…`, as `CUDA_VISIBLE_DEVICES` may name it.
    pub uuid: Option<String>,
    /// `00000000:01:00.0`.
    pub pci_bus_id: Option<String>,
    /// Whether it is split into MIG instances.
    pub is_mig: bool,
}

/// One process on one board.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ProcessSample {
    /// The id as the driver knows it: in a container, the host's.
    pub process: u32,
    /// Bytes; None where the driver does not say (Windows, some containers).
    pub used_bytes: Option<u64>,
}

/// One board at one time. What NVML refuses is None.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BoardSample {
    pub index: u32,
    pub total_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
    pub used_bytes: Option<u64>,
    /// What the driver keeps for itself.
    pub reserved_bytes: Option<u64>,
    pub processes: Option<Vec<ProcessSample>>,
    pub gpu_utilisation_percent: Option<u32>,
    pub memory_utilisation_percent: Option<u32>,
    pub temperature_celsius: Option<u32>,
    pub power_milliwatt: Option<u32>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    /// Names of what holds the clocks down.
    pub throttle_reasons: Option<Vec<String>>,
    pub uncorrected_ecc_errors: Option<u64>,
}

/// The boards there are.
pub(crate) fn boards(nvml: &Nvml) -> Result<Vec<Board>, NvmlError> {
    let mut boards = Vec::new();
    for index in 0..nvml.device_count()? {
        let device = nvml.device_by_index(index)?;
        boards.push(Board {
            index,
            name: device.name().ok(),
            uuid: device.uuid().ok(),
            pci_bus_id: device.pci_info().ok().map(|pci| pci.bus_id),
            is_mig: device.mig_mode().is_ok_and(|mode| mode.current == 1),
        });
    }
    Ok(boards)
}

/// One look at `index`. The error is the first that says the board itself is gone.
pub(crate) fn sample(nvml: &Nvml, index: u32) -> Result<BoardSample, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory = match device.memory_info() {
        Err(lost @ (NvmlError::GpuLost | NvmlError::Uninitialized)) => return Err(lost),
        other => other.ok(),
    };
    let utilisation = device.utilization_rates().ok();
    let reasons = device.current_throttle_reasons().ok();
    Ok(BoardSample {
        index,
        total_bytes: memory.as_ref().map(|memory| memory.total),
        free_bytes: memory.as_ref().map(|memory| memory.free),
        used_bytes: memory.as_ref().map(|memory| memory.used),
        reserved_bytes: memory.as_ref().map(|memory| memory.reserved),
        processes: processes(&device),
        gpu_utilisation_percent: utilisation.as_ref().map(|rates| rates.gpu),
        memory_utilisation_percent: utilisation.map(|rates| rates.memory),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_milliwatt: device.power_usage().ok(),
        sm_clock_mhz: device.clock_info(Clock::SM).ok(),
        memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
        throttle_reasons: reasons.map(|reasons| {
            reasons
                .iter_names()
                .map(|(name, _)| name.to_ascii_lowercase())
                .collect()
        }),
        uncorrected_ecc_errors: device
            .total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
            .ok(),
    })
}

/// Compute and graphics processes, ascending; one that is both counts once, with the larger
/// figure (NVML reports the same memory in both lists).
fn processes(device: &Device<'_>) -> Option<Vec<ProcessSample>> {
    let compute = device
        .running_compute_processes()
        .or_else(|_| device.running_compute_processes_v2());
    let graphics = device
        .running_graphics_processes()
        .or_else(|_| device.running_graphics_processes_v2());
    if compute.is_err() && graphics.is_err() {
        return None;
    }
    let of = |info: ProcessInfo| ProcessSample {
        process: info.pid,
        used_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    };
    let both = compute.into_iter().chain(graphics).flatten();
    let mut all: Vec<ProcessSample> = both.map(of).collect();
    all.sort_by_key(|sample| (sample.process, std::cmp::Reverse(sample.used_bytes)));
    all.dedup_by_key(|sample| sample.process);
    Some(all)
}
