//! The replay against figures others computed: the public files' peaks by plain rewinding, and
//! PyTorch's own counters for the simulated ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use profiler_core::metrics::{
    Curves, Fragmentation, FragmentationHistory, Part, fragmentation_at, over_time,
};
use profiler_core::read;
use profiler_core::replay::{DeviceReplay, Replay};
use profiler_core::snapshot::{DeviceId, PoolId, Snapshot, StreamId};
use serde_json::Value;

fn load(path: &std::path::Path) -> (Snapshot, Replay) {
    let bytes = std::fs::read(path).unwrap();
    let snapshot = read::read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let replay = Replay::new(&snapshot);
    (snapshot, replay)
}

#[test]
fn public_peaks_are_exact() {
    let Some(shared) = common::shared() else {
        return;
    };
    let index = std::fs::read(shared.join("public/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut checked = 0;
    for entry in index["snapshots"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let (_, replay) = load(&shared.join("public").join(name));
        let expected = entry["replay"].as_array().unwrap();
        assert_eq!(replay.devices.len(), expected.len(), "{name}");
        for expected in expected {
            let device = DeviceId(expected["device"].as_i64().unwrap() as i32);
            let found = replay.device(device).unwrap();
            let figures = [
                ("entries", u64::from(found.event_count())),
                ("final_active_requested", found.requested.last()),
                ("peak_active_requested", found.requested.peak().1),
                ("start_active", found.requested.first()),
                ("final_reserved", found.reserved.last()),
                ("peak_reserved", found.reserved.peak().1),
                ("start_reserved", found.reserved.first()),
            ];
            for (key, value) in figures {
                assert_eq!(
                    expected[key].as_u64(),
                    Some(value),
                    "{name}, device {device}, {key}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} devices");
}

/// What the allocator's counters say, for programs whose recording has everything.
#[test]
fn simulated_peaks_are_the_allocators_own() {
    let Some(shared) = common::shared() else {
        return;
    };
    let truth = std::fs::read_to_string(shared.join("simulated/truth.jsonl")).unwrap();
    let mut wrong = Vec::new();
    for line in truth.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let name = entry["file"].as_str().unwrap();
        let (snapshot, replay) = load(&shared.join("simulated").join(name));
        for (device, counters) in entry["devices"].as_object().unwrap() {
            let device = DeviceId(device.parse().unwrap());
            let found = replay.device(device).unwrap();
            let history = FragmentationHistory::walk(&snapshot, found, |_, _| {});
            let end = &history.at_end;
            let complete = found.requested.first() == 0 && found.reserved.first() == 0;
            let mut figures = vec![
                ("requested_bytes.all.current", found.requested.last()),
                ("allocated_bytes.all.current", end.allocated_bytes()),
                ("active_bytes.all.current", end.active_bytes()),
                ("reserved_bytes.all.current", end.reserved_bytes),
            ];
            if complete {
                figures.extend([
                    ("requested_bytes.all.peak", found.requested.peak().1),
                    ("allocated_bytes.all.peak", history.allocated_peak_bytes),
                    ("active_bytes.all.peak", history.active_peak_bytes),
                    ("reserved_bytes.all.peak", found.reserved.peak().1),
                ]);
            }
            for (key, value) in figures {
                if counters[key].as_u64() != Some(value) {
                    wrong.push(format!(
                        "{name} device {device} {key}: {} not {value}",
                        counters[key]
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} figures differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Holds the identity at every event, and compares it with a computation from scratch at some.
fn check_identity(name: &str, snapshot: &Snapshot, replay: &DeviceReplay) {
    let mut seen: Vec<(u32, Fragmentation)> = Vec::new();
    let history = FragmentationHistory::walk(snapshot, replay, |moment, parts| {
        assert!(parts.adds_up(), "{name}: {parts:?} at moment {moment}");
        assert_eq!(
            parts.reserved_bytes,
            replay.reserved.at(moment),
            "{name}: moment {moment}"
        );
        seen.push((moment, *parts));
    });
    assert_eq!(seen.first().map(|(moment, _)| *moment), Some(0), "{name}");
    let stride = (seen.len() / 40).max(1);
    for (moment, parts) in seen.iter().step_by(stride).chain(seen.last()) {
        // Several changes can complete the same moment; only its last state is the moment's.
        let last = seen
            .iter()
            .rev()
            .find(|(at, _)| at == moment)
            .map(|(_, parts)| parts);
        assert_eq!(
            last,
            Some(&fragmentation_at(snapshot, replay, *moment)),
            "{name}: {moment}"
        );
        assert!(parts.adds_up());
    }
    assert_eq!(
        history.at_end,
        fragmentation_at(snapshot, replay, replay.event_count()),
        "{name}"
    );
}

#[test]
fn the_identity_holds_at_every_event_of_every_file() {
    let Some(shared) = common::shared() else {
        return;
    };
    for folder in ["public", "simulated"] {
        for path in common::snapshot_files(&shared.join(folder)) {
            let (snapshot, replay) = load(&path);
            for device in &replay.devices {
                check_identity(common::name(&path), &snapshot, device);
            }
        }
    }
}

#[test]
fn streams_and_pools_add_up_to_the_device() {
    let Some(shared) = common::shared() else {
        return;
    };
    let files = [
        "sim15-stream.pickle",
        "sim15-graph.pickle",
        "sim15-twodev.pickle",
    ];
    for name in files {
        let (snapshot, replay) = load(&shared.join("simulated").join(name));
        for device in &replay.devices {
            let whole = Curves::of(device, Part::Device);
            assert_eq!(whole.requested, device.requested, "{name}");
            assert_eq!(whole.reserved, device.reserved, "{name}");
            FragmentationHistory::walk(&snapshot, device, |moment, parts| {
                assert_eq!(
                    whole.allocated.at(moment),
                    parts.allocated_bytes(),
                    "{name}"
                );
                assert_eq!(whole.active.at(moment), parts.active_bytes(), "{name}");
            });
            let streams = (0..snapshot.streams.len() as u32)
                .map(|row| Curves::of(device, Part::Stream(StreamId(row))));
            let streams: Vec<Curves> = streams.collect();
            let pools = (0..snapshot.pools.len() as u32)
                .map(|row| Curves::of(device, Part::Pool(PoolId(row))));
            let pools: Vec<Curves> = pools.collect();
            for moment in 0..=device.event_count() {
                for parts in [&streams, &pools] {
                    let requested: u64 = parts.iter().map(|c| c.requested.at(moment)).sum();
                    let reserved: u64 = parts.iter().map(|c| c.reserved.at(moment)).sum();
                    assert_eq!(requested, whole.requested.at(moment), "{name}, {moment}");
                    assert_eq!(reserved, whole.reserved.at(moment), "{name}, {moment}");
                }
            }
            if let Some(trace) = snapshot.trace(device.device) {
                let timed = over_time(&whole.requested, &trace.events);
                assert!(timed.is_sorted_by_key(|&(time, _)| time), "{name}");
                assert_eq!(timed.len(), whole.requested.len(), "{name}");
            }
        }
    }
}
