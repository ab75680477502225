//! Everything that is made of a snapshot, with the sums that hold for each.

use profiler_core::allocator::{AdviseOptions, WhatIf, advise, simulate};
use profiler_core::attribution::{Attribution, By};
use profiler_core::metrics::{FragmentationHistory, fragmentation_at};
use profiler_core::oom::judge_all;
use profiler_core::replay::Replay;
use profiler_core::report::{MAX_BYTES, ReportInput, ReportOptions, html};
use profiler_core::snapshot::Snapshot;
use std::ops::ControlFlow;

/// Replays, attributes, judges, simulates and reports a snapshot; gives the report's page. Fails
/// where sums of parts are not the whole.
pub fn run_pipeline(snapshot: &Snapshot, title: &str, redact: bool) -> String {
    let replay = Replay::new(snapshot);
    let attribution = Attribution::new(snapshot, &replay);
    for device in &replay.devices {
        FragmentationHistory::walk(snapshot, device, |moment, parts| {
            assert!(parts.adds_up(), "parts at {moment}: {parts:?}");
        });
        let last = device.event_count();
        for moment in [0, last / 2, device.peak_moment(), last] {
            let _ = fragmentation_at(snapshot, device, moment);
            for mapped in device.segment_map_at(moment) {
                let covered: u64 = mapped.blocks.iter().map(|block| block.size).sum();
                assert_eq!(covered, mapped.segment.end() - mapped.segment.address);
            }
            let live = device.live_at(moment);
            for (by, _) in By::NAMES {
                let sums = attribution.breakdown(snapshot, device, &live, by);
                let count: u64 = sums.groups.iter().map(|group| group.sums.count).sum();
                let requested = sums
                    .groups
                    .iter()
                    .fold(0_u64, |sum, group| sum.saturating_add(group.sums.requested));
                assert_eq!(count, live.len() as u64);
                assert_eq!(requested, sums.total.requested, "{by:?}");
            }
            let _ = attribution.flame_by_stack(snapshot, device, &live);
            let _ = attribution.flame_by_layer(device, &live);
        }
        let _ = judge_all(snapshot, device, &attribution, Some(u64::MAX));
    }
    let _ = simulate(snapshot, &WhatIf::default(), &mut |_, _| {
        ControlFlow::Continue(())
    });
    let options = AdviseOptions {
        threads: Some(1),
        ..AdviseOptions::default()
    };
    let _ = advise(snapshot, &options, &mut |_, _| ControlFlow::Continue(()));
    let input = ReportInput {
        snapshot,
        replay: &replay,
        attribution: &attribution,
        device_total_bytes: Some(u64::MAX),
    };
    let options = ReportOptions {
        title: title.to_owned(),
        redact,
        device: None,
    };
    let page = html(&input, &options);
    assert!(page.len() < MAX_BYTES);
    page
}
