//! A setting that is tried, and what it does.

use std::ops::ControlFlow;

use serde::Serialize;

use super::bound::Bound;
use super::capacity::{peak_of_everything, smallest_capacity};
use super::curve::CurvePoint;
use super::replay::Recording;
use super::run::Ending;
use super::settings::Settings;
use super::simulate::{DeviceSimulation, SimulateError, Simulation, simulate_recordings};
use super::summary::Summary;
use super::version::{Dialect, TorchVersion};
use super::what_if::{Capacity, WhatIf};
use crate::snapshot::Snapshot;

/// What one setting would do to one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// `PYTORCH_CUDA_ALLOC_CONF`; empty for the defaults.
    pub conf: String,
    /// Whether these are the recorded settings.
    pub is_recorded: bool,
    /// The run without a limit.
    pub simulated: Summary,
    /// The smallest capacity that serves everything recorded, failed requests included
    /// ([`smallest_capacity`]); None if it was not searched for.
    pub smallest_capacity_bytes: Option<u64>,
    /// The run on the capacity in question, if there is one.
    pub at_capacity: Option<Summary>,
    /// The run on the capacity in question, else that without a limit, if asked for.
    #[serde(skip)]
    pub curve: Vec<CurvePoint>,
}

impl Candidate {
    /// Calls of the driver: what a setting costs in speed.
    #[must_use]
    pub fn driver_calls(&self) -> u64 {
        self.simulated.segment_allocs + self.simulated.segment_frees
    }

    /// Whether it runs out of memory on the capacity in question.
    #[must_use]
    pub fn fails_at_capacity(&self) -> bool {
        let limited = self.at_capacity.as_ref();
        limited.is_some_and(|summary| summary.oom_event.is_some())
    }
}

/// Settings worth trying, the most promising first, by the version that first knows them (minor
/// of PyTorch 2).
///
/// Expandable segments remove most fragmentation; `max_split_size_mb` keeps large blocks whole;
/// the divisions cost memory but make sizes repeat; large segments are shared by more blocks.
/// `garbage_collection_threshold` only acts below a memory limit, which is the program's to set.
const CANDIDATES: [(&str, u16); 17] = [
    ("expandable_segments:True", 1),
    ("", 0),
    ("max_split_size_mb:128", 0),
    ("roundup_power2_divisions:8", 0),
    ("large_segment_size_mb:64", 11),
    ("max_split_size_mb:512", 0),
    ("max_split_size_mb:64", 0),
    ("expandable_segments:True,roundup_power2_divisions:8", 1),
    ("expandable_segments:True,large_segment_size_mb:12", 11),
    ("max_split_size_mb:256", 0),
    ("max_split_size_mb:32", 0),
    ("roundup_power2_divisions:4", 0),
    ("roundup_power2_divisions:16", 0),
    ("large_segment_size_mb:12", 11),
    ("large_segment_size_mb:32", 11),
    ("large_segment_size_mb:128", 11),
    ("expandable_segments:True,large_segment_size_mb:64", 11),
];

/// The settings to try beside the recorded ones.
pub(super) fn confs_for(recording: &Recording, version: TorchVersion) -> Vec<&'static str> {
    // torch_npu does not say by any key which release wrote a file; these two are in all.
    let is_known = |conf: &str| {
        recording.rules.dialect == Dialect::Cuda
            || !(conf.contains("divisions") || conf.contains("large_segment"))
    };
    CANDIDATES
        .iter()
        .filter(|(conf, since)| version >= TorchVersion::new(2, *since) && is_known(conf))
        .map(|(conf, _)| *conf)
        .filter(|conf| Settings::from_conf(conf, version).is_ok_and(|s| s != recording.settings))
        .collect()
}

/// What the candidates of one device have in common.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) recording: &'a Recording,
    pub(super) version: TorchVersion,
    pub(super) bound: &'a Bound,
    pub(super) capacity: Option<u64>,
    pub(super) curve_parts: Option<u32>,
}

impl Trial<'_> {
    /// Simulates one setting (None: the recorded ones) with and without the limit; says what was
    /// assumed.
    pub(super) fn run(
        &self,
        conf: Option<&str>,
        is_searched: bool,
    ) -> Result<(Candidate, Vec<String>), SimulateError> {
        let (unlimited, mut assumptions) = self.simulate(conf, None)?;
        let mut shown = None;
        if let Some(bytes) = self.capacity {
            let (limited, more) = self.simulate(conf, Some(bytes))?;
            assumptions = more;
            shown = Some(limited);
        }
        let smallest_capacity_bytes = if is_searched {
            self.smallest_capacity(&unlimited)
        } else {
            None
        };
        let at_capacity = shown.as_ref().map(|limited| limited.simulated.clone());
        let simulated = unlimited.simulated.clone();
        let candidate = Candidate {
            conf: conf.map_or_else(
                || recorded_conf(self.snapshot, self.recording),
                str::to_owned,
            ),
            is_recorded: conf.is_none(),
            simulated,
            smallest_capacity_bytes,
            at_capacity,
            curve: shown.unwrap_or(unlimited).simulated_curve,
        };
        Ok((candidate, assumptions))
    }

    /// The candidate with its smallest capacity, if that was not searched for yet.
    pub(super) fn with_capacity(&self, candidate: &Candidate) -> Result<Candidate, SimulateError> {
        let mut found = candidate.clone();
        if found.smallest_capacity_bytes.is_none() {
            let conf = (!candidate.is_recorded).then_some(candidate.conf.as_str());
            let (unlimited, _) = self.simulate(conf, None)?;
            found.smallest_capacity_bytes = self.smallest_capacity(&unlimited);
        }
        Ok(found)
    }

    fn simulate(
        &self,
        conf: Option<&str>,
        capacity: Option<u64>,
    ) -> Result<(DeviceSimulation, Vec<String>), SimulateError> {
        let what_if = WhatIf {
            conf: conf.map(str::to_owned),
            version: Some(self.version),
            capacity: capacity.map_or(Capacity::Unlimited, Capacity::Bytes),
            with_curves: self.curve_parts.is_some() && capacity == self.capacity,
            curve_parts: self.curve_parts,
            ..WhatIf::default()
        };
        let Simulation {
            devices,
            assumptions,
        } = simulate_recordings(
            self.snapshot,
            std::slice::from_ref(self.recording),
            &what_if,
            &mut |_, _| ControlFlow::Continue(()),
        )?;
        let device = devices.into_iter().next();
        let device = device.ok_or(SimulateError::NoHistory)?;
        Ok((device, assumptions))
    }

    fn smallest_capacity(&self, unlimited: &DeviceSimulation) -> Option<u64> {
        // A run that avoids a failure ends there; the recording goes on.
        let most = match unlimited.ending {
            Ending::Finished => unlimited.simulated.reserved_peak_bytes,
            _ => peak_of_everything(self.recording, &unlimited.settings),
        };
        let least = self.bound.load_bytes;
        smallest_capacity(self.recording, &unlimited.settings, least, most)
    }
}

/// The recorded settings as a string: the one in the file, or what the segments show.
fn recorded_conf(snapshot: &Snapshot, recording: &Recording) -> String {
    match &snapshot.settings {
        Some(settings) => settings.conf.clone(),
        None if recording.settings.expandable_segments => "expandable_segments:True".to_owned(),
        None => String::new(),
    }
}
