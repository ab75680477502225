//! What other allocator settings would have done, by device: gathered once for a page.

use std::ops::ControlFlow;

use crate::allocator::{
    AdviseOptions, BlockMap, Capacity, DeviceAdvice, Disagreement, Recording, TorchVersion, WhatIf,
    advise_recordings, simulate_recordings,
};
use crate::replay::DeviceReplay;
use crate::snapshot::{DeviceId, Snapshot};

/// Steps of the model run for one page at most: some two seconds on one core.
const MAX_STEPS: u64 = 40_000_000;
/// Devices simulated at most, those with the most events; a node has no more.
const MAX_DEVICES: usize = 8;
/// Parts of a curve: two points each at most.
const CURVE_PARTS: u32 = 300;

/// What there is to say of one device.
pub(super) enum WhatIfFindings {
    /// It has no history of the caching allocator.
    NoHistory,
    /// Too many devices.
    LeftOut,
    /// The model does not explain the recording, so nothing can rest on it: the first difference,
    /// if one tells it.
    Unexplained(Option<Disagreement>),
    /// The model explains all of it.
    Simulated(Box<Simulated>),
}

/// Settings tried on a recording that the model explains.
pub(super) struct Simulated {
    pub(super) advice: DeviceAdvice,
    pub(super) assumptions: Vec<String>,
    /// Allocations that the model put where the recording has them: all.
    pub(super) placed: u64,
    /// The candidate whose curve and map are shown first: the best, else the best other one.
    pub(super) shown: usize,
    /// Events of one part of the curves.
    pub(super) curve_part: u32,
    /// As recorded, and under the settings shown, at the same moment.
    pub(super) maps: Option<(BlockMap, BlockMap)>,
}

/// Tries settings on every device of `replays`.
pub(super) fn gather(snapshot: &Snapshot, replays: &[DeviceReplay]) -> Vec<WhatIfFindings> {
    let is_simulated =
        |replay: &&DeviceReplay| replay.device != DeviceId::HOST && replay.event_count() > 0;
    let mut order: Vec<&DeviceReplay> = replays.iter().filter(is_simulated).collect();
    order.sort_by_key(|replay| (std::cmp::Reverse(replay.event_count()), replay.device));
    order.truncate(MAX_DEVICES);
    let max_steps = MAX_STEPS / (order.len() as u64).max(1);
    let one = |replay: &DeviceReplay| {
        if !is_simulated(&replay) {
            WhatIfFindings::NoHistory
        } else if order.iter().any(|chosen| chosen.device == replay.device) {
            device(snapshot, replay.device, max_steps)
        } else {
            WhatIfFindings::LeftOut
        }
    };
    replays.iter().map(one).collect()
}

fn device(snapshot: &Snapshot, device: DeviceId, max_steps: u64) -> WhatIfFindings {
    let Some(recording) = Recording::quick(snapshot, device) else {
        return WhatIfFindings::Unexplained(None);
    };
    if !recording.fidelity.is_exact() {
        return WhatIfFindings::Unexplained(recording.fidelity.first_disagreement);
    }
    simulated(snapshot, recording, max_steps).map_or(WhatIfFindings::NoHistory, |simulated| {
        WhatIfFindings::Simulated(Box::new(simulated))
    })
}

fn simulated(snapshot: &Snapshot, recording: Recording, max_steps: u64) -> Option<Simulated> {
    let events = recording.program.event_count();
    let recordings = [recording];
    let options = AdviseOptions {
        max_steps: Some(max_steps),
        curve_parts: Some(CURVE_PARTS),
        ..AdviseOptions::default()
    };
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let advice = advise_recordings(snapshot, &recordings, &options, go_on).ok()?;
    let device = advice.devices.into_iter().next()?;
    let best = device.best_candidate();
    let candidates = &device.candidates;
    let shown = candidates
        .iter()
        .position(|candidate| Some(candidate) == best)
        .or_else(|| {
            candidates
                .iter()
                .position(|candidate| !candidate.is_recorded)
        })
        .unwrap_or(0);
    let what_if = WhatIf {
        conf: device
            .candidates
            .get(shown)
            .filter(|candidate| !candidate.is_recorded)
            .map(|candidate| candidate.conf.clone()),
        version: Some(TorchVersion::at_least(&snapshot.features)),
        capacity: device
            .capacity_bytes
            .map_or(Capacity::Unlimited, Capacity::Bytes),
        with_maps: true,
        ..WhatIf::default()
    };
    let simulation = simulate_recordings(snapshot, &recordings, &what_if, go_on).ok()?;
    let run = simulation.devices.into_iter().next()?;
    Some(Simulated {
        placed: run.fidelity.placed,
        curve_part: events.div_ceil(CURVE_PARTS).max(1),
        maps: run.recorded_map.zip(run.simulated_map),
        assumptions: simulation.assumptions,
        advice: device,
        shown,
    })
}
