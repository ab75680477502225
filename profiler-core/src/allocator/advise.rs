//! Which settings would have served the recorded program better.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;

use super::bound::Bound;
use super::capacity::smallest_capacity;
use super::gpus::{GPUS, Gpu};
use super::replay::{Fidelity, Recording};
use super::settings::Settings;
use super::simulate::{
    Capacity, SimulateError, SimulateProgress, Summary, WhatIf, implied_capacity, recordings,
    simulate_recordings,
};
use super::version::TorchVersion;
use crate::snapshot::{DeviceId, Snapshot};

/// What to search for.
#[derive(Clone, Debug, Default)]
pub struct AdviseOptions {
    /// The device's memory, if the question is what runs on it.
    pub capacity: Capacity,
    /// Which PyTorch will read the settings; the oldest that can have written the file if None.
    pub version: Option<TorchVersion>,
    /// Threads to use; all cores if None.
    pub threads: Option<usize>,
}

/// What one setting would do to one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// `PYTORCH_CUDA_ALLOC_CONF`; empty for the defaults.
    pub conf: String,
    /// Whether these are the recorded settings.
    pub is_recorded: bool,
    /// The run without a limit.
    pub simulated: Summary,
    /// The smallest capacity that serves everything recorded; None if none was found.
    pub smallest_capacity_bytes: Option<u64>,
    /// The run on the asked capacity, if one was asked for.
    pub at_capacity: Option<Summary>,
}

impl Candidate {
    /// Calls of the driver: what a setting costs in speed.
    #[must_use]
    pub fn driver_calls(&self) -> u64 {
        self.simulated.segment_allocs + self.simulated.segment_frees
    }

    fn fails_at_capacity(&self) -> bool {
        self.at_capacity
            .as_ref()
            .is_some_and(|summary| summary.oom_event.is_some())
    }
}

/// Whether a program fits a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuFit {
    /// The GPU.
    #[serde(flatten)]
    pub gpu: Gpu,
    /// What its memory is above the smallest capacity under the recorded settings; negative if
    /// it is below. The CUDA context, NCCL and cuDNN need to fit there.
    pub room_bytes: i64,
    /// The same under the best settings.
    pub best_room_bytes: i64,
}

/// Advice for one device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceAdvice {
    /// The device.
    pub device: i32,
    /// How far the model agrees with the recording, from 0 to 1.
    pub fidelity: f64,
    /// As recorded.
    pub recorded: Summary,
    /// The bracket around the least memory possible.
    pub bound: Bound,
    /// Every setting tried, best first.
    pub candidates: Vec<Candidate>,
    /// Which GPUs it fits.
    pub gpus: Vec<GpuFit>,
    /// The setting to use; None if nothing is better than the recorded one.
    pub best: Option<Best>,
    /// What the search found, in a sentence.
    pub verdict: String,
}

/// The setting to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Best {
    /// The environment line to paste.
    pub environment: String,
    /// Peak reserved bytes less than under the recorded settings.
    pub saves_bytes: u64,
}

/// Advice for a whole snapshot.
#[derive(Clone, Debug)]
pub struct Advice {
    /// Every device with history.
    pub devices: Vec<DeviceAdvice>,
    /// The fidelity of each device's replay.
    pub fidelity: Vec<Fidelity>,
    /// What the trace does not tell.
    pub assumptions: Vec<String>,
}

/// Settings worth trying, by the version that first knows them (minor of PyTorch 2).
///
/// The divisions cost memory but make sizes repeat; `max_split_size_mb` keeps large blocks whole;
/// expandable segments remove most fragmentation. `garbage_collection_threshold` only acts below
/// a memory limit, which is the program's to set.
const CANDIDATES: [(&str, u16); 17] = [
    ("", 0),
    ("expandable_segments:True", 1),
    ("max_split_size_mb:32", 0),
    ("max_split_size_mb:64", 0),
    ("max_split_size_mb:128", 0),
    ("max_split_size_mb:256", 0),
    ("max_split_size_mb:512", 0),
    ("roundup_power2_divisions:4", 0),
    ("roundup_power2_divisions:8", 0),
    ("roundup_power2_divisions:16", 0),
    ("expandable_segments:True,roundup_power2_divisions:8", 1),
    ("large_segment_size_mb:12", 11),
    ("large_segment_size_mb:32", 11),
    ("large_segment_size_mb:64", 11),
    ("large_segment_size_mb:128", 11),
    ("expandable_segments:True,large_segment_size_mb:12", 11),
    ("expandable_segments:True,large_segment_size_mb:64", 11),
];

/// Tries the settings that matter, on all cores.
///
/// # Errors
/// When there is no history, or `progress` breaks.
pub fn advise(
    snapshot: &Snapshot,
    options: &AdviseOptions,
    progress: &mut SimulateProgress<'_>,
) -> Result<Advice, SimulateError> {
    let recordings = recordings(snapshot)?;
    let version = options
        .version
        .unwrap_or_else(|| TorchVersion::at_least(&snapshot.features));
    let confs: Vec<&str> = CANDIDATES
        .iter()
        .filter(|(_, since)| version >= TorchVersion::new(2, *since))
        .map(|(conf, _)| *conf)
        .collect();
    let mut devices = Vec::new();
    let mut assumptions = Vec::new();
    let mut done = 0;
    for recording in &recordings {
        let bound = Bound::of(&recording.program);
        let mut confs = confs.clone();
        // The recorded settings are tried anyway.
        confs.retain(|conf| {
            Settings::from_conf(conf, version).is_ok_and(|s| s != recording.settings)
        });
        let job = |index: usize| {
            let conf = index.checked_sub(1).and_then(|at| confs.get(at)).copied();
            candidate(snapshot, recording, conf, options, version, &bound)
        };
        let results = run_jobs(confs.len() + 1, options.threads, job, &mut |finished| {
            let jobs = recordings.len() * (confs.len() + 1);
            progress((done + finished) as u64, jobs as u64)
        })?;
        done += confs.len() + 1;
        let mut found = Vec::new();
        for result in results {
            let (candidate, noted) = result?;
            if found.is_empty() {
                assumptions.extend(noted);
            }
            found.push(candidate);
        }
        devices.push(judge(recording, bound, found));
    }
    Ok(Advice {
        fidelity: recordings.iter().map(|r| r.fidelity.clone()).collect(),
        devices,
        assumptions,
    })
}

/// Simulates one setting (None: the recorded ones) with and without the limit.
fn candidate(
    snapshot: &Snapshot,
    recording: &Recording,
    conf: Option<&str>,
    options: &AdviseOptions,
    version: TorchVersion,
    bound: &Bound,
) -> Result<(Candidate, Vec<String>), SimulateError> {
    let one = std::slice::from_ref(recording);
    let mut what_if = WhatIf {
        conf: conf.map(str::to_owned),
        version: Some(version),
        capacity: Capacity::Unlimited,
        ..WhatIf::default()
    };
    let mut ignore = |_, _| ControlFlow::Continue(());
    let unlimited = simulate_recordings(snapshot, one, &what_if, &mut ignore)?;
    let Some(device) = unlimited.devices.into_iter().next() else {
        return Err(SimulateError::NoHistory);
    };
    let capacity = match options.capacity {
        Capacity::Bytes(bytes) => Some(bytes),
        Capacity::Recorded => implied_capacity(snapshot, recording),
        Capacity::Unlimited => None,
    };
    let at_capacity = match capacity {
        Some(bytes) => {
            what_if.capacity = Capacity::Bytes(bytes);
            let limited = simulate_recordings(snapshot, one, &what_if, &mut ignore)?;
            limited.devices.into_iter().next().map(|d| d.simulated)
        }
        None => None,
    };
    let settings: &Settings = &device.settings;
    let smallest_capacity_bytes = smallest_capacity(
        recording,
        settings,
        bound.load_bytes,
        device.simulated.reserved_peak_bytes,
    );
    let candidate = Candidate {
        conf: conf.map_or_else(|| recorded_conf(snapshot), str::to_owned),
        is_recorded: conf.is_none(),
        simulated: device.simulated,
        smallest_capacity_bytes,
        at_capacity,
    };
    Ok((candidate, unlimited.assumptions))
}

fn recorded_conf(snapshot: &Snapshot) -> String {
    let settings = snapshot.settings.as_ref();
    settings.map_or_else(String::new, |settings| settings.conf.clone())
}

/// Runs jobs 0…count on several threads (one where there are no threads, as on wasm); results in
/// order.
fn run_jobs<T: Send>(
    count: usize,
    threads: Option<usize>,
    job: impl Fn(usize) -> T + Sync,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<T>, SimulateError> {
    let next = AtomicUsize::new(0);
    let is_stopped = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    let take_one = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count || is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        let result = job(index);
        if let Ok(mut results) = results.lock() {
            results.push((index, result));
        }
        true
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let helpers = threads.unwrap_or(cores).clamp(1, count.max(1)) - 1;
    let stopped = std::thread::scope(|scope| {
        for _ in 0..helpers {
            // Without threads this one does all the work.
            let helper = std::thread::Builder::new();
            if helper.spawn_scoped(scope, || while take_one() {}).is_err() {
                break;
            }
        }
        while take_one() {
            let finished = results.lock().map_or(0, |results| results.len());
            if progress(finished).is_break() {
                is_stopped.store(true, Ordering::Relaxed);
                return true;
            }
        }
        false
    });
    if stopped {
        return Err(SimulateError::Stopped);
    }
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A saving below this share of the peak is not worth a setting.
const WORTHWHILE: f64 = 0.01;

/// Ranks candidates and says what follows.
fn judge(recording: &Recording, bound: Bound, mut candidates: Vec<Candidate>) -> DeviceAdvice {
    candidates.sort_by_key(|candidate| {
        (
            candidate.fails_at_capacity(),
            candidate.simulated.reserved_peak_bytes,
            candidate.smallest_capacity_bytes.unwrap_or(u64::MAX),
            candidate.driver_calls(),
            !candidate.is_recorded,
            candidate.conf.len(),
        )
    });
    let recorded = candidates.iter().find(|candidate| candidate.is_recorded);
    let first = candidates.first();
    let mut best = None;
    let mut verdict = String::new();
    let mut gpus = Vec::new();
    if let (Some(recorded), Some(first)) = (recorded, first) {
        let now = recorded.simulated.reserved_peak_bytes;
        let saves = now.saturating_sub(first.simulated.reserved_peak_bytes);
        let is_rescue = recorded.fails_at_capacity() && !first.fails_at_capacity();
        let is_worthwhile = saves as f64 > now as f64 * WORTHWHILE;
        if !first.is_recorded && (is_rescue || is_worthwhile) {
            best = Some(Best {
                environment: environment_line(&first.conf),
                saves_bytes: saves,
            });
        }
        verdict = match (&best, is_rescue) {
            (Some(_), true) => "This setting runs where the recorded one runs out of memory.",
            (Some(_), false) => "This setting needs less memory for the same program.",
            (None, _) if recorded.fails_at_capacity() => {
                "No setting makes the program fit: it needs less live memory, or a larger device."
            }
            (None, _) => "No setting tried helps: what the program keeps alive is what it takes.",
        }
        .to_owned();
        let room = |gpu: &Gpu, candidate: &Candidate| {
            let needed = candidate
                .smallest_capacity_bytes
                .unwrap_or(candidate.simulated.reserved_peak_bytes);
            gpu.total_bytes.cast_signed() - needed.min(i64::MAX as u64).cast_signed()
        };
        gpus = GPUS
            .iter()
            .map(|gpu| GpuFit {
                gpu: *gpu,
                room_bytes: room(gpu, recorded),
                best_room_bytes: room(gpu, first),
            })
            .collect();
    }
    let counters = &recording.counters;
    let DeviceId(device) = recording.program.device;
    DeviceAdvice {
        device,
        fidelity: recording.fidelity.share(),
        recorded: Summary {
            requested_peak_bytes: counters.requested.peak,
            allocated_peak_bytes: counters.allocated.peak,
            reserved_peak_bytes: recording.fidelity.peak_reserved_recorded,
            segment_allocs: counters.device_allocs,
            segment_frees: counters.device_frees,
            alloc_retries: counters.alloc_retries,
            oom_event: recording.first_oom(),
        },
        bound,
        candidates,
        gpus,
        best,
        verdict,
    }
}

/// The line for a shell. The older name of the variable is read by every version.
#[must_use]
pub fn environment_line(conf: &str) -> String {
    format!("PYTORCH_CUDA_ALLOC_CONF={conf}")
}
