//! Boards, their MIG instances and processes, as NVML describes them.

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::Serialize;

use crate::nvml::{Driver, explain};

/// What does not change of a board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Board {
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
    /// Its MIG instances.
    pub instances: Vec<Instance>,
}

/// What does not change of a MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Its number on the board.
    pub index: u32,
    /// Its name, as in `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
    pub name: Option<String>,
    /// `MIG-…`, as `CUDA_VISIBLE_DEVICES` may name it.
    pub uuid: Option<String>,
}

/// One process on one board.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProcessSample {
    /// The id as the driver knows it: in a container, possibly the host's.
    pub process: u32,
    /// Bytes; None where the driver does not say (Windows, some containers).
    pub used_bytes: Option<u64>,
}

/// Memory of a board or an instance, bytes. What NVML refuses is None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemorySample {
    /// All there is.
    pub total_bytes: Option<u64>,
    /// Left for programs.
    pub free_bytes: Option<u64>,
    /// Held by programs; where `reserved_bytes` is None, with what the driver keeps.
    pub used_bytes: Option<u64>,
    /// What the driver keeps for itself. None on drivers before 510, whose only answer counts it
    /// as used.
    pub reserved_bytes: Option<u64>,
}

/// A MIG instance at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstanceSample {
    /// Its number on the board.
    pub index: u32,
    /// Its memory.
    #[serde(flatten)]
    pub memory: MemorySample,
    /// Its processes, by id; None if NVML does not say.
    pub processes: Option<Vec<ProcessSample>>,
}

/// What a board shows of itself; None is what NVML refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BoardFigures {
    /// Its memory.
    #[serde(flatten)]
    pub memory: MemorySample,
    /// Share of the last interval in which a kernel ran.
    pub gpu_utilisation_percent: Option<u32>,
    /// Share of the last interval in which memory was read or written.
    pub memory_utilisation_percent: Option<u32>,
    /// Of the GPU itself.
    pub temperature_celsius: Option<u32>,
    /// Drawn by the whole board.
    pub power_milliwatt: Option<u32>,
    /// The limit in force.
    pub power_limit_milliwatt: Option<u32>,
    /// Of the multiprocessors.
    pub sm_clock_mhz: Option<u32>,
    /// Of the memory.
    pub memory_clock_mhz: Option<u32>,
    /// Names of what holds the clocks down.
    pub throttle_reasons: Option<Vec<String>>,
    /// Memory errors that ECC could not correct since the driver was loaded.
    pub uncorrected_ecc_errors: Option<u64>,
    /// Memory errors that ECC corrected since the driver was loaded.
    pub corrected_ecc_errors: Option<u64>,
}

/// One board at one time. What NVML refuses is None.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BoardSample {
    /// NVML's number.
    pub index: u32,
    /// Its figures.
    #[serde(flatten)]
    pub figures: BoardFigures,
    /// Its processes, by id; None if NVML does not say.
    pub processes: Option<Vec<ProcessSample>>,
    /// Its MIG instances.
    pub instances: Vec<InstanceSample>,
}

/// The boards there are.
pub(crate) fn boards(nvml: &Nvml) -> Result<Vec<Board>, NvmlError> {
    let mut boards = Vec::new();
    for index in 0..nvml.device_count()? {
        let device = match nvml.device_by_index(index) {
            Ok(device) => device,
            // A lost board keeps its number; the others are still there.
            Err(_) => {
                boards.push(Board {
                    index,
                    ..Board::default()
                });
                continue;
            }
        };
        let is_mig = device.mig_mode().is_ok_and(|mode| mode.current == 1);
        boards.push(Board {
            index,
            name: device.name().ok(),
            uuid: device.uuid().ok(),
            pci_bus_id: device.pci_info().ok().map(|pci| pci.bus_id),
            is_mig,
            instances: if is_mig {
                instances(&device)
            } else {
                Vec::new()
            },
        });
    }
    Ok(boards)
}

/// A board has at most 7 instances of each kind (Multi-Instance GPU User Guide); a library that
/// says more is not followed.
const MAX_INSTANCES: u32 = 64;

fn instances(device: &Device<'_>) -> Vec<Instance> {
    let most = device.mig_device_count().unwrap_or(0).min(MAX_INSTANCES);
    let found = (0..most).filter_map(|index| {
        // The numbers may have gaps.
        let instance = device.mig_device_by_index(index).ok()?;
        Some(Instance {
            index,
            name: instance.name().ok(),
            uuid: instance.uuid().ok(),
        })
    });
    found.collect()
}

/// Sentences about what a driver does not give, each kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Notes(Vec<String>);

impl Notes {
    /// More than these would be no help.
    const MOST: usize = 16;

    /// Adds a sentence unless it is there.
    pub fn add(&mut self, sentence: String) {
        if self.0.len() < Self::MOST && !self.0.contains(&sentence) {
            self.0.push(sentence);
        }
    }

    /// The sentences.
    #[must_use]
    pub fn all(&self) -> &[String] {
        &self.0
    }
}

/// One look at `board`.
///
/// # Errors
/// A sentence, if the board itself is gone.
pub fn sample(driver: &Driver, board: &Board, notes: &mut Notes) -> Result<BoardSample, String> {
    let index = board.index;
    let gone = |error: &NvmlError| format!("GPU {index}: {}", explain(error));
    let device = driver
        .nvml
        .device_by_index(index)
        .map_err(|error| gone(&error))?;
    let memory = memory(driver, &device).map_err(|error| gone(&error))?;
    let utilisation = device.utilization_rates().ok();
    let reasons = device.current_throttle_reasons().ok();
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Volatile).ok();
    Ok(BoardSample {
        index,
        figures: BoardFigures {
            memory,
            gpu_utilisation_percent: utilisation.as_ref().map(|rates| rates.gpu),
            memory_utilisation_percent: utilisation.map(|rates| rates.memory),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            power_milliwatt: device.power_usage().ok(),
            power_limit_milliwatt: device.enforced_power_limit().ok(),
            sm_clock_mhz: device.clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            throttle_reasons: reasons.map(|reasons| {
                reasons
                    .iter_names()
                    .map(|(name, _)| name.to_ascii_lowercase())
                    .collect()
            }),
            uncorrected_ecc_errors: ecc(MemoryError::Uncorrected),
            corrected_ecc_errors: ecc(MemoryError::Corrected),
        },
        processes: processes(driver, &device, index, notes),
        instances: instance_samples(driver, board, &device),
    })
}

fn instance_samples(driver: &Driver, board: &Board, device: &Device<'_>) -> Vec<InstanceSample> {
    let all = board.instances.iter().filter_map(|known| {
        let instance = device.mig_device_by_index(known.index).ok()?;
        Some(InstanceSample {
            index: known.index,
            memory: memory(driver, &instance).unwrap_or_default(),
            processes: processes(driver, &instance, board.index, &mut Notes::default()),
        })
    });
    all.collect()
}

/// The memory by the newest call there is. The error is one that says the board is gone.
fn memory(driver: &Driver, device: &Device<'_>) -> Result<MemorySample, NvmlError> {
    match device.memory_info() {
        Ok(memory) => Ok(MemorySample {
            total_bytes: Some(memory.total),
            free_bytes: Some(memory.free),
            used_bytes: Some(memory.used),
            reserved_bytes: Some(memory.reserved),
        }),
        Err(lost @ (NvmlError::GpuLost | NvmlError::Uninitialized)) => Err(lost),
        Err(_) => {
            let memory = driver
                .legacy
                .as_ref()
                .and_then(|legacy| legacy.memory(device));
            Ok(MemorySample {
                total_bytes: memory.map(|memory| memory.total),
                free_bytes: memory.map(|memory| memory.free),
                used_bytes: memory.map(|memory| memory.used),
                reserved_bytes: None,
            })
        }
    }
}

/// Compute and graphics processes, ascending; one that is both counts once, with the larger
/// figure (NVML reports the same memory in both lists).
fn processes(
    driver: &Driver,
    device: &Device<'_>,
    index: u32,
    notes: &mut Notes,
) -> Option<Vec<ProcessSample>> {
    let legacy = |kind| {
        driver
            .legacy
            .as_ref()
            .and_then(|old| old.processes(device, kind))
    };
    let compute = newest(
        device.running_compute_processes(),
        || device.running_compute_processes_v2(),
        || legacy(0),
    );
    let graphics = newest(
        device.running_graphics_processes(),
        || device.running_graphics_processes_v2(),
        || legacy(1),
    );
    if let (Err(error), Err(_)) = (&compute, &graphics) {
        if matches!(error, NvmlError::GpuLost) {
            // Lost between two questions: the next look says so.
            return None;
        }
        // A permission is the user's, not a board's: said once.
        notes.add(match error {
            NvmlError::NoPermission => {
                "NVML does not list the processes: this user has no permission to see them; the \
                 rest works"
                    .to_owned()
            }
            other => format!(
                "GPU {index}: NVML does not list the processes: {}; the rest works",
                explain(other)
            ),
        });
        return None;
    }
    let mut all: Vec<ProcessSample> = [compute, graphics]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    all.sort_by_key(|sample| (sample.process, std::cmp::Reverse(sample.used_bytes)));
    all.dedup_by_key(|sample| sample.process);
    if all.iter().any(|process| process.used_bytes.is_none()) {
        notes.add(format!(
            "GPU {index}: NVML does not say how much memory each process holds (as in some \
             containers and on Windows); the board's figures are complete"
        ));
    }
    Some(all)
}

/// The list of the newest of three calls that the driver has. Errors other than of a missing call
/// are final.
fn newest(
    third: Result<Vec<ProcessInfo>, NvmlError>,
    second: impl FnOnce() -> Result<Vec<ProcessInfo>, NvmlError>,
    first: impl FnOnce() -> Option<Vec<(u32, Option<u64>)>>,
) -> Result<Vec<ProcessSample>, NvmlError> {
    let of = |info: ProcessInfo| ProcessSample {
        process: info.pid,
        used_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    };
    let error = match third {
        Err(error) if is_missing(&error) => match second() {
            Err(error) if is_missing(&error) => error,
            other => return other.map(|list| list.into_iter().map(of).collect()),
        },
        other => return other.map(|list| list.into_iter().map(of).collect()),
    };
    let list = first().ok_or(error)?;
    let of = |(process, used_bytes)| ProcessSample {
        process,
        used_bytes,
    };
    Ok(list.into_iter().map(of).collect())
}

/// Whether the library or the driver below it lacks the call.
fn is_missing(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound
    )
}
