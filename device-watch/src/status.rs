//! Who holds what, now: NVML's boards and processes joined with what recorded processes say.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use crate::board::BoardFigures;
use crate::board::{self, Board, BoardSample, InstanceSample, MemorySample, Notes, ProcessSample};
use crate::identity::{self, Told};
use crate::nvml::Driver;
use crate::pulse::{self, Pulse, PulseDevice};
use crate::sampler::{Series, now_us};
use crate::visible::{bus_place, is_same_uuid};

/// One look at the machine (schema `gpumemprof.top/1`).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// `gpumemprof.top/1`.
    pub schema: &'static str,
    /// When, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// The driver's release.
    pub driver: Option<String>,
    /// What could not be found out, as sentences.
    pub notes: Notes,
    /// The boards, by NVML's number.
    pub devices: Vec<DeviceStatus>,
}

/// One board.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeviceStatus {
    /// What it is.
    #[serde(flatten)]
    pub board: Board,
    /// Whether it answered; a lost board does not.
    pub is_lost: bool,
    /// Its figures.
    pub now: BoardFigures,
    /// Its MIG instances' memory.
    pub instance_memory: Vec<InstanceMemory>,
    /// Its processes: those that hold most first. None if NVML does not list them.
    pub processes: Option<Vec<ProcessStatus>>,
}

/// A MIG instance's memory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InstanceMemory {
    /// Its number on the board.
    pub index: u32,
    /// Its memory.
    #[serde(flatten)]
    pub memory: MemorySample,
}

/// One process on one board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessStatus {
    /// As NVML says; None for a recorded process that NVML's list does not show under an id of its
    /// own.
    pub process: Option<u32>,
    /// Its program, where that can be looked up.
    pub name: Option<String>,
    /// The MIG instance it runs on.
    pub instance: Option<u32>,
    /// What NVML counts for it, bytes.
    pub used_bytes: Option<u64>,
    /// PyTorch's part, where the process is being recorded.
    pub pytorch: Option<PytorchStatus>,
}

/// PyTorch's part of a process's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PytorchStatus {
    /// The process's id as it sees itself.
    pub process: u32,
    /// How it was told in NVML's list; None: it was not.
    pub told_by: Option<Told>,
    /// Its rank.
    pub rank: u32,
    /// The step it is in.
    pub step: Option<i64>,
    /// How old its counters are.
    pub age_us: i64,
    /// Its counters.
    #[serde(flatten)]
    pub counters: PulseDevice,
    /// What the process holds beyond what PyTorch reserved: context, libraries, NCCL. None where
    /// NVML does not say, and where PyTorch's reserved bytes may have changed while it was asked:
    /// the process must have said the same before and after.
    pub outside_bytes: Option<u64>,
}

/// Looks at the machine as often as asked.
#[derive(Debug)]
pub struct Watch {
    driver: Driver,
    pulses: PathBuf,
    namespace: Option<String>,
    last: Mutex<Option<Look>>,
}

/// One look at NVML, with what recorded processes had said before it.
#[derive(Clone, Debug, Default)]
struct Look {
    pulses: Vec<Pulse>,
    /// By board, as the driver lists them.
    samples: Vec<Option<BoardSample>>,
    /// When NVML was asked, and when it had answered.
    from_us: i64,
    until_us: i64,
    /// This process's own process-id namespace.
    namespace: Option<String>,
}

/// How long [`Watch::look_settled`] waits for processes to speak again: they do so twice a second.
const SETTLE: Duration = Duration::from_secs(1);

impl Watch {
    /// Opens NVML (from `library`, or else where the loader finds it).
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn open(library: Option<PathBuf>) -> Result<Self, String> {
        Ok(Self {
            driver: Driver::open(library)?,
            pulses: pulse::folder(),
            namespace: identity::Own::new().namespace,
            last: Mutex::default(),
        })
    }

    /// What there is now. What lies outside PyTorch is known from the second look on: a process
    /// has to speak before and after one.
    #[must_use]
    pub fn look(&self) -> Status {
        let mut notes = Notes::default();
        let pulses = pulse::read(&self.pulses);
        let from_us = now_us();
        let samples: Vec<Option<BoardSample>> = (self.driver.boards.iter())
            .map(|board| {
                board::sample(&self.driver, board, &mut notes)
                    .map_err(|problem| notes.add(problem))
                    .ok()
            })
            .collect();
        let until_us = now_us();
        let look = Look {
            pulses,
            samples,
            from_us,
            until_us,
            namespace: self.namespace.clone(),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(look.clone());
        drop(last);
        let boards = self.driver.boards.iter().enumerate();
        Status {
            schema: "gpumemprof.top/1",
            time_us: from_us,
            driver: self.driver.version.clone(),
            devices: boards
                .map(|(at, board)| device(board, at, &look, before.as_ref(), &identity::name))
                .collect(),
            notes,
        }
    }

    /// [`Self::look`], twice where processes are recorded: they have spoken in between.
    #[must_use]
    pub fn look_settled(&self) -> Status {
        let first = self.look();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let until_us = last.as_ref().map(|look| (look.until_us, look.pulses.len()));
        drop(last);
        let Some((until_us, 1..)) = until_us else {
            return first;
        };
        let deadline = Instant::now() + SETTLE;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let pulses = pulse::read(&self.pulses);
            if pulses.iter().all(|pulse| pulse.time_us >= until_us) {
                break;
            }
        }
        self.look()
    }
}

/// The board `board`, the driver's `at`th, with its processes. `before` is the look before this one;
/// `name` looks a process up.
fn device(
    board: &Board,
    at: usize,
    look: &Look,
    before: Option<&Look>,
    name: &dyn Fn(u32) -> Option<String>,
) -> DeviceStatus {
    let sample = look.samples.get(at).cloned().flatten();
    let is_lost = sample.is_none();
    let sample = sample.unwrap_or_default();
    let before = before.and_then(|before| Some((before, before.samples.get(at)?.as_ref()?)));
    let processes = processes(board, &sample, look, before, name);
    DeviceStatus {
        board: board.clone(),
        is_lost,
        now: sample.figures,
        instance_memory: (sample.instances.iter())
            .map(|one| InstanceMemory {
                index: one.index,
                memory: one.memory,
            })
            .collect(),
        processes,
    }
}

/// NVML's list with the recorded processes told in it.
fn processes(
    board: &Board,
    sample: &BoardSample,
    look: &Look,
    before: Option<(&Look, &BoardSample)>,
    name: &dyn Fn(u32) -> Option<String>,
) -> Option<Vec<ProcessStatus>> {
    let mut all: Vec<ProcessStatus> = listed(sample)
        .map(|(instance, one)| ProcessStatus {
            process: Some(one.process),
            name: name(one.process),
            instance,
            used_bytes: one.used_bytes,
            pytorch: None,
        })
        .collect();
    for pulse in &look.pulses {
        for counters in &pulse.devices {
            let Some(place) = place(std::slice::from_ref(board), &counters.key()) else {
                continue;
            };
            let list = place.list(sample).unwrap_or_default();
            let reserved = counters.reserved_bytes;
            let told = find(list, pulse, reserved, look.namespace.as_deref(), name);
            let row = told.and_then(|(process, _)| {
                (all.iter_mut()).find(|row| row.process == Some(process) && row.pytorch.is_none())
            });
            let mut status = PytorchStatus {
                process: pulse.process,
                told_by: None,
                rank: pulse.rank,
                step: pulse.step,
                age_us: look.from_us.saturating_sub(pulse.time_us).max(0),
                counters: counters.clone(),
                outside_bytes: None,
            };
            match (row, told) {
                (Some(row), Some((process, how))) => {
                    status.told_by = Some(how);
                    let was_used = before.and_then(|(before, sample)| {
                        let list = place.list(sample)?;
                        let own = list.iter().find(|one| one.process == process)?;
                        own.used_bytes
                            .filter(|_| is_settled(before, pulse, counters))
                    });
                    status.outside_bytes = was_used
                        .filter(|&used| row.used_bytes == Some(used))
                        .and_then(|used| used.checked_sub(reserved));
                    if how == Told::OnlyCandidate || row.name.is_none() {
                        row.name.clone_from(&pulse.program);
                    }
                    row.pytorch = Some(status);
                }
                _ => all.push(ProcessStatus {
                    process: None,
                    name: pulse.program.clone(),
                    instance: place.instance,
                    used_bytes: None,
                    pytorch: Some(status),
                }),
            }
        }
    }
    if sample.processes.is_none() && all.is_empty() {
        return None;
    }
    let weight = |row: &ProcessStatus| {
        let reserved = row.pytorch.as_ref().map(|one| one.counters.reserved_bytes);
        row.used_bytes.or(reserved).unwrap_or(0)
    };
    all.sort_by_key(|row| (std::cmp::Reverse(weight(row)), row.process));
    Some(all)
}

/// The process of `pulse` in NVML's list; `namespace` is this process's, and `name` looks a process
/// up in it.
///
/// Where the pulse's ids are the driver's, the id tells. By its size a process is told only where ids
/// cannot: where the pulse comes from another namespace, or the candidate's id is of no process here.
fn find(
    list: &[ProcessSample],
    pulse: &Pulse,
    reserved_bytes: u64,
    namespace: Option<&str>,
    name: &dyn Fn(u32) -> Option<String>,
) -> Option<(u32, Told)> {
    let of_pulse = pulse.namespace.as_deref();
    let is_listed = list.iter().any(|one| one.process == pulse.process);
    if is_listed && of_pulse.is_some_and(identity::is_first) {
        return Some((pulse.process, Told::ProcessId));
    }
    let found = identity::find(list, pulse.process, pulse.outer_process, reserved_bytes);
    found.filter(|&(process, how)| {
        how != Told::OnlyCandidate || of_pulse != namespace || name(process).is_none()
    })
}

/// Whether PyTorch's reserved bytes did not change while NVML was asked for `before`: the process
/// said the same before it was asked and, with `pulse`, after.
fn is_settled(before: &Look, pulse: &Pulse, counters: &PulseDevice) -> bool {
    let earlier = (before.pulses.iter()).find(|earlier| earlier.is_same_process(pulse));
    let Some(earlier) = earlier else {
        return false;
    };
    let of = |one: &PulseDevice| (one.reserved_bytes, one.turnover_bytes);
    let same = earlier.devices.iter().any(|one| {
        (one.device, one.key()) == (counters.device, counters.key()) && of(one) == of(counters)
    });
    same && earlier.time_us <= before.from_us && before.until_us <= pulse.time_us
}

/// A board's processes, each once: with its MIG instance where that is listed.
fn listed(sample: &BoardSample) -> impl Iterator<Item = (Option<u32>, &ProcessSample)> {
    let on_instances = |process: u32| {
        let mut lists = sample
            .instances
            .iter()
            .filter_map(|one| one.processes.as_ref());
        lists.any(|list| list.iter().any(|one| one.process == process))
    };
    let of_instance = |one: &'_ InstanceSample| one.index;
    let inside = sample.instances.iter().flat_map(move |one| {
        let list = one.processes.iter().flatten();
        list.map(move |process| (Some(of_instance(one)), process))
    });
    let outside = sample.processes.iter().flatten();
    let outside = outside.filter(move |one| !on_instances(one.process));
    inside.chain(outside.map(|process| (None, process)))
}

/// What a program knows a device by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct DeviceKey {
    /// Of the board or the MIG instance, with or without prefix.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Domain, bus and device.
    #[serde(default)]
    pub bus: Option<(u32, u32, u32)>,
}

impl PulseDevice {
    fn key(&self) -> DeviceKey {
        DeviceKey {
            uuid: self.uuid.clone(),
            bus: self.pci_bus_id.as_deref().and_then(bus_place),
        }
    }
}

/// A board, or an instance of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// NVML's number of the board.
    pub board: u32,
    /// The instance on it.
    pub instance: Option<u32>,
}

impl Place {
    /// The processes there; None if NVML does not say.
    #[must_use]
    pub fn list(self, sample: &BoardSample) -> Option<&[ProcessSample]> {
        let on_instance = self.instance.and_then(|index| {
            let found = sample.instances.iter().find(|one| one.index == index)?;
            found.processes.as_deref()
        });
        on_instance.or(sample.processes.as_deref())
    }

    /// The memory there.
    #[must_use]
    pub fn memory(self, sample: &BoardSample) -> MemorySample {
        let on_instance = self.instance.and_then(|index| {
            let found = sample.instances.iter().find(|one| one.index == index)?;
            Some(found.memory)
        });
        on_instance.unwrap_or(sample.figures.memory)
    }
}

/// Where a device is: by UUID, else by its place on the bus. Never by number, which
/// `CUDA_VISIBLE_DEVICES` changes.
#[must_use]
pub fn place(boards: &[Board], key: &DeviceKey) -> Option<Place> {
    if let Some(uuid) = key.uuid.as_deref() {
        let is_it = |found: &Option<String>| {
            found
                .as_deref()
                .is_some_and(|text| is_same_uuid(text, uuid))
        };
        for board in boards {
            let instance = board.instances.iter().find(|one| is_it(&one.uuid));
            if instance.is_some() || is_it(&board.uuid) {
                // A process that names a split board by its own UUID runs on the only instance
                // there is, if there is one.
                let only = match board.instances.as_slice() {
                    [only] => Some(only.index),
                    _ => None,
                };
                return Some(Place {
                    board: board.index,
                    instance: instance.map(|one| one.index).or(only),
                });
            }
        }
    }
    let bus = key.bus?;
    let is_there = |board: &&Board| board.pci_bus_id.as_deref().and_then(bus_place) == Some(bus);
    let board = boards.iter().find(is_there)?;
    Some(Place {
        board: board.index,
        instance: None,
    })
}

/// A device as PyTorch describes it to us.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TorchDevice {
    /// PyTorch's number.
    pub device: i32,
    /// How it is known.
    #[serde(flatten)]
    pub key: DeviceKey,
    /// What the allocator had reserved when asked.
    pub reserved_bytes: u64,
}

/// What lies outside PyTorch on one of this process's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// PyTorch's number of the device.
    pub device: i32,
    /// NVML's number of its board.
    pub board: u32,
    /// The MIG instance.
    pub instance: Option<u32>,
    /// Of the board or instance.
    #[serde(flatten)]
    pub memory: MemorySample,
    /// What PyTorch had reserved.
    pub pytorch_reserved_bytes: u64,
    /// This process in NVML's list; None if it cannot be told.
    pub process: Option<u32>,
    /// How it was told.
    pub told_by: Option<Told>,
    /// What NVML counts for this process.
    pub process_used_bytes: Option<u64>,
    /// The same without what PyTorch reserved: context, libraries, NCCL. None where NVML does not
    /// say, or where it was asked while PyTorch was between two counts.
    pub process_outside_bytes: Option<u64>,
    /// The other processes; None if this one cannot be told from them.
    pub others: Option<Vec<NamedProcess>>,
    /// All of NVML's list.
    pub processes: Option<Vec<ProcessSample>>,
    /// When NVML was asked, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// When it had answered.
    pub until_us: i64,
}

/// Another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedProcess {
    /// As NVML says.
    pub process: u32,
    /// What it holds.
    pub used_bytes: Option<u64>,
    /// Its program, where that can be looked up.
    pub name: Option<String>,
}

/// What lies outside PyTorch on each of this process's devices, by the newest sample of `series`.
/// Devices whose board cannot be told are left out.
#[must_use]
pub fn outside(series: &Series, devices: &[TorchDevice]) -> Vec<Outside> {
    let Some(newest) = series.samples.back() else {
        return Vec::new();
    };
    let of = |device: &TorchDevice| {
        let place = place(&series.boards, &device.key)?;
        let sample = newest.boards.iter().find(|one| one.index == place.board)?;
        let list = place.list(sample);
        let told = list.and_then(|list| {
            identity::find(
                list,
                series.process,
                series.outer_process,
                device.reserved_bytes,
            )
        });
        let own = told.and_then(|(process, _)| list?.iter().find(|one| one.process == process));
        let used = own.and_then(|own| own.used_bytes);
        let others = own.zip(list).map(|(own, list)| {
            let others = list.iter().filter(|one| one.process != own.process);
            others
                .map(|one| NamedProcess {
                    process: one.process,
                    used_bytes: one.used_bytes,
                    name: identity::name(one.process),
                })
                .collect()
        });
        Some(Outside {
            device: device.device,
            board: place.board,
            instance: place.instance,
            memory: place.memory(sample),
            pytorch_reserved_bytes: device.reserved_bytes,
            process: told.map(|(process, _)| process),
            told_by: told.map(|(_, how)| how),
            process_used_bytes: used,
            process_outside_bytes: used.and_then(|used| used.checked_sub(device.reserved_bytes)),
            others,
            processes: list.map(<[ProcessSample]>::to_vec),
            time_us: newest.time_us,
            until_us: newest.until_us,
        })
    };
    devices.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn board() -> Board {
        Board {
            uuid: Some("GPU-aa".to_owned()),
            pci_bus_id: Some("00000000:18:00.0".to_owned()),
            ..Board::default()
        }
    }

    fn process(process: u32, gib: u64) -> ProcessSample {
        ProcessSample {
            process,
            used_bytes: Some(gib * GIB),
        }
    }

    fn pulse(process: u32, reserved_gib: u64) -> Pulse {
        Pulse {
            process,
            program: Some("train.py".to_owned()),
            devices: vec![PulseDevice {
                uuid: Some("aa".to_owned()),
                reserved_bytes: reserved_gib * GIB,
                ..PulseDevice::default()
            }],
            ..Pulse::default()
        }
    }

    /// A look from 100 to 200 µs, what the processes said then, and one like it when they said the
    /// same again.
    fn looks(sample: &BoardSample, pulses: &[Pulse]) -> [Look; 2] {
        [100, 1100].map(|from_us| Look {
            pulses: (pulses.iter().cloned())
                .map(|pulse| Pulse {
                    time_us: from_us - 50,
                    ..pulse
                })
                .collect(),
            samples: vec![Some(sample.clone())],
            from_us,
            until_us: from_us + 100,
            namespace: Some(HERE.to_owned()),
        })
    }

    fn rows_of([before, now]: &[Look; 2]) -> Vec<ProcessStatus> {
        let name = |process: u32| (process < 100).then(|| format!("p{process}"));
        device(&board(), 0, now, Some(before), &name)
            .processes
            .unwrap()
    }

    fn rows(sample: &BoardSample, pulses: &[Pulse]) -> Vec<ProcessStatus> {
        rows_of(&looks(sample, pulses))
    }

    fn sample(processes: &[ProcessSample]) -> BoardSample {
        BoardSample {
            processes: Some(processes.to_vec()),
            ..BoardSample::default()
        }
    }

    #[test]
    fn outside_is_said_only_where_nothing_moved() {
        let outside = |change: &dyn Fn(&mut [Look; 2])| {
            let mut looks = looks(&sample(&[process(8, 5)]), &[pulse(8, 4)]);
            change(&mut looks);
            rows_of(&looks)[0].pytorch.as_ref().unwrap().outside_bytes
        };
        let device = |look: &mut Look, change: &dyn Fn(&mut PulseDevice)| {
            change(&mut look.pulses[0].devices[0]);
        };
        assert_eq!(outside(&|_| {}), Some(GIB));
        // It grew before the second look, or grew and shrank again.
        assert_eq!(
            outside(&|looks| device(&mut looks[0], &|one| one.reserved_bytes -= GIB)),
            None
        );
        assert_eq!(
            outside(&|looks| device(&mut looks[1], &|one| one.turnover_bytes = Some(1))),
            None
        );
        // It has not spoken since, or only while NVML was asked.
        assert_eq!(outside(&|looks| looks[1].pulses[0].time_us = 150), None);
        assert_eq!(outside(&|looks| looks[0].pulses[0].time_us = 150), None);
        // Another process with that id.
        assert_eq!(
            outside(&|looks| looks[1].pulses[0].start_ticks = Some(7)),
            None
        );
        // NVML counts more by now.
        assert_eq!(
            outside(&|looks| looks[1].samples = vec![Some(sample(&[process(8, 6)]))]),
            None
        );
        let looks = looks(&sample(&[process(8, 5)]), &[pulse(8, 4)]);
        let name = |_: u32| None;
        let first = device_alone(&looks[0], &name);
        assert_eq!(first[0].pytorch.as_ref().unwrap().outside_bytes, None);
    }

    fn device_alone(look: &Look, name: &dyn Fn(u32) -> Option<String>) -> Vec<ProcessStatus> {
        device(&board(), 0, look, None, name).processes.unwrap()
    }

    /// The namespace of these looks.
    const HERE: &str = "pid:[4026532000]";

    #[test]
    fn sizes_tell_only_where_ids_cannot() {
        let told = |namespace: &str, own: u32, candidate: u32| {
            let mut speaker = pulse(own, 4);
            speaker.namespace = Some(namespace.to_owned());
            let rows = rows(&sample(&[process(7, 1), process(candidate, 5)]), &[speaker]);
            let row = rows.iter().find(|row| row.pytorch.is_some()).unwrap();
            (row.process, row.pytorch.as_ref().unwrap().told_by)
        };
        let inferred = |id| (Some(id), Some(Told::OnlyCandidate));
        // Ids below 100 are of processes that can be looked up here.
        assert_eq!(told("pid:[4026532001]", 1, 8), inferred(8));
        assert_eq!(told(HERE, 1, 8), (None, None));
        assert_eq!(told(HERE, 1, 100_008), inferred(100_008));
        // An id that is the driver's is right whatever the sizes.
        let first = "pid:[4026531836]";
        assert_eq!(told(first, 7, 8), (Some(7), Some(Told::ProcessId)));
    }

    #[test]
    fn recorded_processes_are_told_and_split() {
        let sample = BoardSample {
            processes: Some(vec![process(7, 1), process(8, 5), process(4000, 2)]),
            ..BoardSample::default()
        };
        let rows = rows(&sample, &[pulse(8, 4), pulse(9, 6)]);
        let ids: Vec<_> = rows.iter().map(|row| row.process).collect();
        assert_eq!(ids, [None, Some(8), Some(4000), Some(7)]);
        let split = rows[1].pytorch.as_ref().unwrap();
        assert_eq!(
            (split.outside_bytes, split.told_by),
            (Some(GIB), Some(Told::ProcessId))
        );
        assert_eq!(rows[1].name.as_deref(), Some("p8"));
        // Process 9 says it has reserved more than anybody holds: shown, but not told in the list.
        let lost = rows[0].pytorch.as_ref().unwrap();
        assert_eq!(
            (lost.process, lost.told_by, lost.outside_bytes),
            (9, None, None)
        );
        assert_eq!(rows[2].name, None);
    }

    #[test]
    fn without_a_list_recorded_processes_are_still_shown() {
        let sample = BoardSample::default();
        let [look, _] = looks(&sample, &[]);
        assert_eq!(device(&board(), 0, &look, None, &|_| None).processes, None);
        assert_eq!(rows(&sample, &[pulse(8, 4)])[0].used_bytes, None);
    }

    #[test]
    fn instances_have_their_own_lists() {
        let mut split = board();
        split.is_mig = true;
        split.instances = vec![board::Instance {
            index: 2,
            uuid: Some("MIG-bb".to_owned()),
            ..board::Instance::default()
        }];
        let key = DeviceKey {
            uuid: Some("bb".to_owned()),
            bus: None,
        };
        let found = place(std::slice::from_ref(&split), &key).unwrap();
        assert_eq!((found.board, found.instance), (0, Some(2)));
        let sample = BoardSample {
            processes: Some(vec![process(7, 1), process(8, 2)]),
            instances: vec![InstanceSample {
                index: 2,
                processes: Some(vec![process(8, 2)]),
                ..InstanceSample::default()
            }],
            ..BoardSample::default()
        };
        assert_eq!(found.list(&sample).unwrap().len(), 1);
        let places: Vec<_> = listed(&sample).map(|(at, one)| (at, one.process)).collect();
        assert_eq!(places, [(Some(2), 8), (None, 7)]);
    }

    #[test]
    fn boards_are_found_by_uuid_then_by_bus() {
        let key = |uuid: Option<&str>, bus| DeviceKey {
            uuid: uuid.map(str::to_owned),
            bus,
        };
        let boards = [board()];
        assert!(place(&boards, &key(Some("GPU-AA"), None)).is_some());
        assert!(place(&boards, &key(Some("ab"), Some((0, 0x18, 0)))).is_some());
        assert!(place(&boards, &key(Some("ab"), Some((1, 0x18, 0)))).is_none());
        assert!(place(&boards, &key(None, None)).is_none());
    }
}
