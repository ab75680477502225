//! Which settings would have served the recorded program better.

use serde::Serialize;

use super::bound::Bound;
use super::candidate::{Candidate, Trial, confs_for};
use super::fidelity::Fidelity;
use super::gpus::Gpu;
use super::jobs::run_jobs;
use super::judge::{best_of, judge, rank};
use super::replay::Recording;
use super::simulate::{SimulateError, SimulateProgress, recordings};
use super::summary::Summary;
use super::version::TorchVersion;
use super::what_if::{Capacity, implied_capacity};
use crate::snapshot::Snapshot;

/// What to search for.
#[derive(Clone, Debug, Default)]
pub struct AdviseOptions {
    /// The device's memory, if the question is what runs on it.
    pub capacity: Capacity,
    /// Which PyTorch will read the settings; the oldest that can have written the file if None.
    pub version: Option<TorchVersion>,
    /// Threads to use; all cores if None.
    pub threads: Option<usize>,
    /// Steps of the program to run at most for each device, over all settings and capacities
    /// (the model does some 20 million a second on one core). With fewer than everything takes,
    /// the smallest capacity is searched only for the recorded and the best settings, or not at
    /// all, and then the less promising settings are left out; the recorded settings and one
    /// other are always tried. No limit if None.
    pub max_steps: Option<u64>,
    /// Keep each candidate's curve, in so many parts ([`super::WhatIf::curve_parts`]).
    pub curve_parts: Option<u32>,
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
    /// The capacity in question: the one asked for, or that at which the recording ran out of
    /// memory; None without.
    pub capacity_bytes: Option<u64>,
    /// The bracket around the least memory possible.
    pub bound: Bound,
    /// Every setting tried, best first.
    pub candidates: Vec<Candidate>,
    /// Settings left out for [`AdviseOptions::max_steps`].
    pub settings_not_tried: u64,
    /// Which GPUs it fits.
    pub gpus: Vec<GpuFit>,
    /// The setting to use: about the least peak, with few options. None if nothing is better
    /// than the recorded one.
    pub best: Option<Best>,
    /// What the search found, in a sentence.
    pub verdict: String,
}

/// The setting to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Best {
    /// The settings that were simulated.
    pub conf: String,
    /// The environment line to paste: these settings, and recorded options that have no effect
    /// on where blocks go.
    pub environment: String,
    /// Peak reserved bytes less than under the recorded settings, both without a limit; 0 if it
    /// needs no less but runs where the recorded one does not.
    pub saves_bytes: u64,
    /// Whether it runs on the capacity in question and the recorded settings do not.
    pub is_rescue: bool,
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
    advise_recordings(snapshot, &recordings, options, progress)
}

/// [`advise`] on recordings already replayed ([`recordings`]).
///
/// # Errors
/// When `progress` breaks.
pub fn advise_recordings(
    snapshot: &Snapshot,
    recordings: &[Recording],
    options: &AdviseOptions,
    progress: &mut SimulateProgress<'_>,
) -> Result<Advice, SimulateError> {
    let version = options
        .version
        .unwrap_or_else(|| TorchVersion::at_least(&snapshot.features));
    let plans: Vec<Plan> = recordings
        .iter()
        .map(|recording| Plan::new(snapshot, recording, options, version))
        .collect();
    let jobs: usize = plans.iter().map(|plan| plan.confs.len()).sum();
    let mut done = 0;
    let mut assumptions: Vec<String> = Vec::new();
    let mut devices = Vec::new();
    for (recording, plan) in recordings.iter().zip(&plans) {
        let bound = Bound::of(&recording.program, &recording.settings);
        let trial = Trial {
            snapshot,
            recording,
            version,
            bound: &bound,
            capacity: plan.capacity,
            curve_parts: options.curve_parts,
        };
        let job = |index: usize| {
            let conf = plan.confs.get(index).copied().flatten();
            trial.run(conf, plan.search == Search::All)
        };
        let count = plan.confs.len();
        let results = run_jobs(count, options.threads, job, &mut |finished| {
            progress((done + finished) as u64, jobs as u64)
        })?;
        done += count;
        let mut candidates = Vec::new();
        for result in results {
            let (candidate, noted) = result?;
            if candidate.is_recorded {
                for text in noted {
                    if !assumptions.contains(&text) {
                        assumptions.push(text);
                    }
                }
            }
            candidates.push(candidate);
        }
        rank(&mut candidates);
        if plan.search == Search::BestAndRecorded {
            search_two(&trial, &mut candidates, options.threads)?;
        }
        let mut advice = judge(snapshot, recording, bound, plan.capacity, candidates);
        advice.settings_not_tried = plan.left_out;
        devices.push(advice);
    }
    Ok(Advice {
        fidelity: recordings.iter().map(|r| r.fidelity.clone()).collect(),
        devices,
        assumptions,
    })
}

/// Searches the smallest capacity of the best and of the recorded settings.
fn search_two(
    trial: &Trial<'_>,
    candidates: &mut [Candidate],
    threads: Option<usize>,
) -> Result<(), SimulateError> {
    let row = |candidate: &Candidate| candidates.iter().position(|other| other == candidate);
    let recorded = candidates.iter().find(|candidate| candidate.is_recorded);
    let best = recorded.and_then(|recorded| best_of(candidates, recorded));
    let wanted = [recorded, best].into_iter().flatten().filter_map(row);
    let mut wanted: Vec<usize> = wanted.collect();
    wanted.dedup();
    let job = |index: usize| {
        let candidate = wanted.get(index).and_then(|&row| candidates.get(row));
        candidate.map(|candidate| trial.with_capacity(candidate))
    };
    let found = run_jobs(wanted.len(), threads, job, &mut |_| {
        std::ops::ControlFlow::Continue(())
    })?;
    for (row, found) in wanted.into_iter().zip(found) {
        if let (Some(slot), Some(found)) = (candidates.get_mut(row), found) {
            *slot = found?;
        }
    }
    Ok(())
}

/// For which candidates the smallest capacity is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    All,
    BestAndRecorded,
    None,
}

/// What is tried for one device.
struct Plan {
    /// Settings to try; None for the recorded ones.
    confs: Vec<Option<&'static str>>,
    capacity: Option<u64>,
    search: Search,
    /// Settings left out.
    left_out: u64,
}

impl Plan {
    /// Runs that a search for the smallest capacity takes: it halves a range of 2 MiB steps, and
    /// those that fail end early.
    const RUNS_PER_SEARCH: u64 = 12;

    fn new(
        snapshot: &Snapshot,
        recording: &Recording,
        options: &AdviseOptions,
        version: TorchVersion,
    ) -> Self {
        let capacity = match options.capacity {
            Capacity::Bytes(bytes) => Some(bytes),
            Capacity::Recorded => implied_capacity(snapshot, recording),
            Capacity::Unlimited => None,
        };
        let mut confs = vec![None];
        confs.extend(confs_for(recording, version).into_iter().map(Some));
        let mut plan = Self {
            confs,
            capacity,
            search: Search::All,
            left_out: 0,
        };
        if let Some(max_steps) = options.max_steps {
            plan.limit(max_steps / (recording.program.steps.len() as u64).max(1));
        }
        plan
    }

    /// Makes do with so many runs of the whole program.
    fn limit(&mut self, runs: u64) {
        let each = 1 + u64::from(self.capacity.is_some());
        let all = self.confs.len();
        let tried = usize::try_from(runs / each)
            .unwrap_or(all)
            .clamp(2, all.max(2));
        self.confs.truncate(tried);
        self.left_out = (all - self.confs.len()) as u64;
        let count = self.confs.len() as u64;
        let rest = runs.saturating_sub(count * each);
        self.search = if rest >= count * Self::RUNS_PER_SEARCH {
            Search::All
        } else if rest >= 2 * (Self::RUNS_PER_SEARCH + 1) {
            Search::BestAndRecorded
        } else {
            Search::None
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_runs_give_up_searches_first_and_settings_last() {
        let limited = |runs: u64| {
            let mut plan = Plan {
                confs: vec![None; 11],
                capacity: None,
                search: Search::All,
                left_out: 0,
            };
            plan.limit(runs);
            (plan.confs.len(), plan.left_out, plan.search)
        };
        assert_eq!(limited(1000), (11, 0, Search::All));
        assert_eq!(limited(11 * 13), (11, 0, Search::All));
        assert_eq!(limited(11 * 13 - 1), (11, 0, Search::BestAndRecorded));
        assert_eq!(limited(11 + 26), (11, 0, Search::BestAndRecorded));
        assert_eq!(limited(20), (11, 0, Search::None));
        assert_eq!(limited(5), (5, 6, Search::None));
        assert_eq!(limited(0), (2, 9, Search::None));
    }
}
