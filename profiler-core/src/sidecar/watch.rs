//! What a sidecar says of the devices from outside PyTorch.

use serde::Deserialize;

use crate::snapshot::{CounterLook, DeviceId, DeviceLook, DeviceWatch, OtherProcess};

use super::Sidecar;

/// The series of NVML samples (`gpumemprof.samples/1`), as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Samples {
    /// Oldest first.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

/// All boards at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sample {
    /// When NVML was asked, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// When it had answered; None in older files.
    #[serde(default)]
    pub until_us: Option<i64>,
    /// The boards that answered.
    #[serde(default)]
    pub boards: Vec<Place>,
}

/// A board, or a MIG instance of one, at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// NVML's number.
    pub index: u32,
    /// Held by programs.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// The processes there.
    #[serde(default)]
    pub processes: Option<Vec<ProcessUse>>,
    /// Its MIG instances.
    #[serde(default)]
    pub instances: Vec<Place>,
}

/// One process there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ProcessUse {
    /// As NVML says.
    pub process: u32,
    /// What it holds.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// Its program.
    #[serde(default)]
    pub name: Option<String>,
}

/// Where a device of PyTorch's is among NVML's boards, and what was there when the snapshot was
/// taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct OutsidePytorch {
    /// PyTorch's number.
    pub device: i32,
    /// NVML's number of its board.
    pub board: u32,
    /// The MIG instance on it.
    #[serde(default)]
    pub instance: Option<u32>,
    /// The recorded process in NVML's list.
    #[serde(default)]
    pub process: Option<u32>,
    /// How it was told there.
    #[serde(default)]
    pub told_by: Option<String>,
    /// When NVML was asked.
    #[serde(default)]
    pub time_us: Option<i64>,
    /// When it had answered.
    #[serde(default)]
    pub until_us: Option<i64>,
    /// Of the board or instance.
    #[serde(default)]
    pub total_bytes: Option<u64>,
    /// Held by programs.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// All processes there.
    #[serde(default)]
    pub processes: Option<Vec<ProcessUse>>,
    /// All but the recorded one.
    #[serde(default)]
    pub others: Option<Vec<ProcessUse>>,
}

/// PyTorch's counters over time, as columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// When, in microseconds since the Unix epoch.
    #[serde(default)]
    pub time_us: Vec<i64>,
    /// PyTorch's number of the device.
    #[serde(default)]
    pub device: Vec<i32>,
    /// Reserved then.
    #[serde(default)]
    pub reserved_bytes: Vec<u64>,
    /// Ever reserved and given back, added up.
    #[serde(default)]
    pub turnover_bytes: Vec<u64>,
}

impl Sidecar {
    /// How many entries the lists of this part have.
    pub(super) fn watch_entries(&self) -> usize {
        let places = |boards: &[Place]| -> usize {
            let of = |place: &Place| 1 + place.processes.as_ref().map_or(0, Vec::len);
            boards
                .iter()
                .map(|board| of(board) + board.instances.iter().map(of).sum::<usize>())
                .sum()
        };
        let samples = self.samples.iter().flat_map(|samples| &samples.samples);
        let in_samples: usize = samples.map(|sample| places(&sample.boards)).sum();
        in_samples + self.counters.time_us.len()
    }

    /// The devices that the sidecar knows from outside, in its order.
    pub(super) fn watches(&self) -> Vec<DeviceWatch> {
        self.outside_pytorch
            .iter()
            .map(|place| self.watch(place))
            .collect()
    }

    fn watch(&self, place: &OutsidePytorch) -> DeviceWatch {
        let samples = self.samples.iter().flat_map(|samples| &samples.samples);
        let mut looks: Vec<DeviceLook> = samples
            .filter_map(|sample| {
                let board = sample.boards.iter().find(|one| one.index == place.board)?;
                let found = match place.instance {
                    Some(instance) => board.instances.iter().find(|one| one.index == instance)?,
                    None => board,
                };
                let until = sample.until_us.unwrap_or(sample.time_us);
                let list = found.processes.as_deref();
                Some(look(
                    sample.time_us,
                    until,
                    found.used_bytes,
                    list,
                    place.process,
                ))
            })
            .collect();
        if let Some(time_us) = place.time_us {
            let until = place.until_us.unwrap_or(time_us);
            let list = place.processes.as_deref();
            looks.push(look(time_us, until, place.used_bytes, list, place.process));
        }
        looks.sort_by_key(|look| look.time_us);
        let mut others: Vec<OtherProcess> = (place.others.iter().flatten())
            .map(|one| OtherProcess {
                process: one.process,
                name: one.name.clone(),
                used_bytes: one.used_bytes,
            })
            .collect();
        others.sort_by_key(|one| (std::cmp::Reverse(one.used_bytes), one.process));
        DeviceWatch {
            device: DeviceId(place.device),
            total_bytes: place.total_bytes,
            is_inferred: place.told_by.as_deref() == Some("only_candidate"),
            looks,
            counters: self.counters(place.device),
            others,
        }
    }

    fn counters(&self, device: i32) -> Vec<CounterLook> {
        let all = &self.counters;
        let rows = (all.time_us.iter().zip(&all.device))
            .zip(all.reserved_bytes.iter().zip(&all.turnover_bytes));
        let mut counters: Vec<CounterLook> = rows
            .filter(|((_, on), _)| **on == device)
            .map(
                |((&time_us, _), (&reserved_bytes, &turnover_bytes))| CounterLook {
                    time_us,
                    reserved_bytes,
                    turnover_bytes,
                },
            )
            .collect();
        counters.sort_by_key(|look| look.time_us);
        counters
    }
}

fn look(
    time_us: i64,
    until_us: i64,
    used_bytes: Option<u64>,
    processes: Option<&[ProcessUse]>,
    own: Option<u32>,
) -> DeviceLook {
    // Without knowing which process is the recorded one, nothing can be said of either.
    let own = own.and_then(|own| processes?.iter().find(|one| one.process == own));
    let others = own.zip(processes).and_then(|(own, all)| {
        let others = all.iter().filter(|one| one.process != own.process);
        others
            .map(|one| one.used_bytes)
            .try_fold(0_u64, |sum, bytes| sum.checked_add(bytes?))
    });
    DeviceLook {
        time_us,
        until_us: until_us.max(time_us),
        used_bytes,
        process_bytes: own.and_then(|own| own.used_bytes),
        others_bytes: others,
    }
}
