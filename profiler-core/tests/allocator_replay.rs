//! The model against recordings of the real allocator, event by event.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use profiler_core::allocator::{Recording, SizeRules, replay_recorded};
use profiler_core::read::read;
use profiler_core::snapshot::{DeviceId, Events, Snapshot};

/// Files whose history no caching allocator of PyTorch made, with what is special about them.
const MADE_UP: [(&str, &str); 1] = [(
    "mosaic-output.pickle",
    "unaligned addresses, no free_requested",
)];

/// Calls `check` with every snapshot of the two folders that has history.
fn for_each_recording(mut check: impl FnMut(&str, &Snapshot, DeviceId)) -> u32 {
    let Some(shared) = common::shared() else {
        return 0;
    };
    let mut count = 0;
    for folder in ["public", "simulated"] {
        for path in common::snapshot_files(&shared.join(folder)) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if MADE_UP.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let snapshot = read(&std::fs::read(&path).unwrap()).unwrap();
            for trace in &snapshot.traces {
                if trace.device != DeviceId::HOST && !trace.events.is_empty() {
                    check(&name, &snapshot, trace.device);
                    count += 1;
                }
            }
        }
    }
    count
}

/// Every allocation on its recorded segment and offset, every segment event, the final state
/// block by block, and peak reserved bytes.
#[test]
fn every_recording_is_reproduced() {
    let mut wrong = Vec::new();
    let mut allocations = 0;
    for_each_recording(|name, snapshot, device| {
        let recording = Recording::new(snapshot, device);
        let fidelity = &recording.fidelity;
        allocations += fidelity.allocations;
        // What the trace alone says of the peaks, which is shown where the replay is not exact.
        let rules = SizeRules::new(recording.rules.dialect, &recording.settings);
        let (requested, rounded) = recording.program.peaks(&rules);
        assert_eq!(requested, recording.counters.requested.peak, "{name}");
        assert!(rounded <= recording.counters.allocated.peak, "{name}");
        let is_exact = fidelity.is_exact()
            && fidelity.final_blocks_matched == fidelity.final_blocks
            && fidelity.snapshots_matched == fidelity.snapshots
            && fidelity.peak_reserved_replayed == fidelity.peak_reserved_recorded;
        if !is_exact {
            wrong.push(format!("{name} device {device}: {fidelity:?}"));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{allocations} allocations placed");
}

/// Rows from `from` on, as a ring buffer would have kept them.
fn cut(snapshot: &Snapshot, device: DeviceId, from: usize) -> Snapshot {
    let mut cut = snapshot.clone();
    for trace in &mut cut.traces {
        if trace.device != device {
            continue;
        }
        let mut kept = Events::default();
        if trace.events.has_pools() {
            kept.set_has_pools();
        }
        for row in from..trace.events.len() {
            kept.push(&trace.events.get(row));
        }
        trace.events = kept;
    }
    cut
}

/// The same with the beginning of the history lost, at eleven places: what was there is rebuilt
/// from the final segments, and guesses about it are corrected.
#[test]
fn recordings_without_their_beginning_are_reproduced() {
    let mut wrong = Vec::new();
    let mut corrected = 0;
    for_each_recording(|name, snapshot, device| {
        let events = snapshot.trace(device).map_or(0, |trace| trace.events.len());
        if events < 50 {
            return;
        }
        for part in 1..12 {
            let from = events * part / 12 + part * 37 % 11;
            let fidelity = replay_recorded(&cut(snapshot, device, from), device);
            corrected += fidelity.corrected_blocks;
            let blocks = (fidelity.final_blocks_matched, fidelity.final_blocks);
            if !fidelity.is_exact() || blocks.0 != blocks.1 {
                wrong.push(format!("{name} from {from}: {fidelity:?}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{corrected} guesses corrected");
}
