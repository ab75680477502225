//! Advice, curves and maps on a sample that ran out of memory for fragmentation
//! (`samples/oom-variable-length.pickle`): every number against the others.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ops::ControlFlow;

use profiler_core::allocator::{
    AdviseOptions, BlockMap, Capacity, Recording, Use, WhatIf, advise_recordings, implied_capacity,
    recordings, simulate_recordings, survives,
};
use profiler_core::read::read;
use profiler_core::snapshot::Snapshot;

/// The failed request: row and bytes.
const OOM: (u32, u64) = (5815, 250 << 20);

fn sample() -> (Snapshot, Vec<Recording>) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../samples/oom-variable-length.pickle"
    );
    let snapshot = read(&std::fs::read(path).unwrap()).unwrap();
    let recordings = recordings(&snapshot).unwrap();
    assert!(recordings[0].fidelity.is_exact());
    (snapshot, recordings)
}

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn expandable() -> WhatIf {
    WhatIf {
        conf: Some("expandable_segments:True".into()),
        ..WhatIf::default()
    }
}

fn bytes(map: &BlockMap, of: impl Fn(Use) -> bool) -> u64 {
    let blocks = map.segments.iter().flat_map(|segment| &segment.blocks);
    blocks
        .filter(|block| of(block.state))
        .map(|block| block.size)
        .sum()
}

/// ```text
/// recorded    │ … many gaps, the largest 48 MiB │             + 218 MiB on the device
/// simulated   │ … all in one segment       │ the 250 MiB │
/// ```
#[test]
fn both_maps_are_at_the_failure() {
    let (snapshot, recordings) = sample();
    let what_if = WhatIf {
        with_maps: true,
        ..expandable()
    };
    let simulation = simulate_recordings(&snapshot, &recordings, &what_if, &mut go_on).unwrap();
    let device = &simulation.devices[0];
    let recorded = device.recorded_map.as_ref().unwrap();
    let simulated = device.simulated_map.as_ref().unwrap();
    assert_eq!((recorded.event, simulated.event), (OOM.0, OOM.0));
    let named = |map: &BlockMap| -> Vec<u64> {
        let blocks = map.segments.iter().flat_map(|segment| &segment.blocks);
        let ours = blocks.filter(|block| block.alloc_event == Some(OOM.0));
        ours.map(|block| block.size).collect()
    };
    assert_eq!(named(recorded), [0_u64; 0]);
    assert_eq!(named(simulated), [OOM.1]);
    // Apart from that block the same is live in both.
    let in_use = |map| bytes(map, |state| matches!(state, Use::Allocated | Use::Pending));
    let requested = |map: &BlockMap| -> u64 {
        let blocks = map.segments.iter().flat_map(|segment| &segment.blocks);
        blocks.map(|block| block.requested).sum()
    };
    assert_eq!(requested(recorded) + OOM.1, requested(simulated));
    assert!(in_use(recorded) + OOM.1 >= in_use(simulated));
    // What the map holds is what the device held: the failure left this much to the driver.
    let reserved: u64 = recorded.segments.iter().map(|segment| segment.size).sum();
    assert_eq!(bytes(recorded, |_| true), reserved);
    let events = &snapshot.traces[0].events;
    let capacity = implied_capacity(&snapshot, &recordings[0]).unwrap();
    assert_eq!(reserved + events.address(OOM.0 as usize), capacity);
}

#[test]
fn curves_in_parts_keep_every_peak() {
    let (snapshot, recordings) = sample();
    let run = |curve_parts| {
        let what_if = WhatIf {
            with_curves: true,
            curve_parts,
            ..expandable()
        };
        let simulation = simulate_recordings(&snapshot, &recordings, &what_if, &mut go_on);
        simulation.unwrap().devices.swap_remove(0)
    };
    let (whole, parts) = (run(None), run(Some(50)));
    assert!(parts.simulated_curve.len() <= 100);
    assert!(whole.simulated_curve.len() > 1000);
    assert!(
        parts
            .simulated_curve
            .iter()
            .all(|point| whole.simulated_curve.contains(point))
    );
    let highest = |curve: &[profiler_core::allocator::CurvePoint]| {
        curve.iter().map(|point| point.reserved).max()
    };
    assert_eq!(
        highest(&parts.simulated_curve),
        highest(&whole.simulated_curve)
    );
    assert_eq!(
        highest(&whole.simulated_curve),
        Some(whole.simulated.reserved_peak_bytes)
    );
    assert_eq!(parts.simulated_curve.last(), whole.simulated_curve.last());
    // The recording's own curve ends in the recorded state.
    let recorded = recordings[0].curve(&snapshot, None);
    assert_eq!(highest(&recorded), Some(whole.recorded.reserved_peak_bytes));
}

#[test]
fn the_smallest_capacity_is_the_smallest() {
    let (snapshot, recordings) = sample();
    let advice = advise_recordings(
        &snapshot,
        &recordings,
        &AdviseOptions::default(),
        &mut go_on,
    )
    .unwrap();
    let device = &advice.devices[0];
    let best = device.best_candidate().unwrap();
    let smallest = best.smallest_capacity_bytes.unwrap();
    let conf = device.best.as_ref().unwrap().conf.clone();
    let settings = |capacity| {
        let what_if = WhatIf {
            conf: Some(conf.clone()),
            capacity: Capacity::Bytes(capacity),
            ..WhatIf::default()
        };
        let simulation = simulate_recordings(&snapshot, &recordings, &what_if, &mut go_on);
        simulation.unwrap().devices.swap_remove(0)
    };
    let enough = settings(smallest);
    assert_eq!(enough.simulated.oom_event, None);
    assert!(survives(&recordings[0], &enough.settings, smallest));
    assert!(!survives(
        &recordings[0],
        &enough.settings,
        smallest - (2 << 20)
    ));
    // The bracket holds, and what is advised is better than what was recorded.
    let recorded = device.recorded_candidate().unwrap();
    assert!(device.bound.load_bytes <= device.bound.packing_bytes);
    assert!(device.bound.load_bytes <= smallest);
    assert!(smallest < recorded.smallest_capacity_bytes.unwrap());
    assert!(recorded.fails_at_capacity() && !best.fails_at_capacity());
    let live_at_failure = recordings[0].counters.requested.peak;
    assert!(device.bound.load_bytes >= live_at_failure.max(OOM.1));
}

#[test]
fn with_fewer_steps_the_recorded_and_the_best_are_still_told() {
    let (snapshot, recordings) = sample();
    let steps = recordings[0].program.steps.len() as u64;
    let advice = |runs| {
        let options = AdviseOptions {
            max_steps: Some(steps * runs),
            ..AdviseOptions::default()
        };
        let advice = advise_recordings(&snapshot, &recordings, &options, &mut go_on);
        advice.unwrap().devices.swap_remove(0)
    };
    let full = advice(10_000);
    assert_eq!(full.settings_not_tried, 0);
    assert!(
        full.candidates
            .iter()
            .all(|c| c.smallest_capacity_bytes.is_some())
    );
    let some = advice(70);
    assert_eq!(some.candidates.len(), full.candidates.len());
    let searched = some
        .candidates
        .iter()
        .filter(|c| c.smallest_capacity_bytes.is_some());
    assert_eq!(searched.count(), 2);
    assert_eq!(some.best, full.best);
    assert_eq!(
        some.best_candidate().unwrap().smallest_capacity_bytes,
        full.best_candidate().unwrap().smallest_capacity_bytes
    );
    let few = advice(1);
    assert_eq!((few.candidates.len(), few.best), (2, full.best));
    assert_eq!(few.settings_not_tried as usize, full.candidates.len() - 2);
}
