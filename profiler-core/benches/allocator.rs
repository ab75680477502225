//! How fast the allocator model runs: events of a recording replayed and simulated a second, on
//! one core. Needs the reference snapshots (`GPUMEMPROF_SHARED`, or `../shared` beside the
//! repository).

#![allow(clippy::print_stdout, reason = "says what is missing")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use divan::Bencher;
use divan::counter::ItemsCount;
use profiler_core::allocator::{
    Capacity, WhatIf, recordings, replay_recorded, simulate_recordings,
};
use profiler_core::read::read;
use profiler_core::snapshot::{DeviceId, Snapshot};

fn main() {
    if load(FILES[0]).is_none() {
        println!("skipped: no reference snapshots");
        return;
    }
    divan::main();
}

const FILES: [&str; 3] = [
    "simulated/sim15-var.pickle",
    "public/wed-medium-128-training.pickle",
    "public/decomfl-memory.pickle",
];

fn load(name: &str) -> Option<Snapshot> {
    let shared = std::env::var_os("GPUMEMPROF_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let bytes = std::fs::read(shared.join("snapshots").join(name)).ok()?;
    read(&bytes).ok()
}

fn events(snapshot: &Snapshot) -> ItemsCount {
    let events: usize = snapshot.traces.iter().map(|trace| trace.events.len()).sum();
    ItemsCount::new(events)
}

/// A run under given settings, without curves or maps.
fn simulate(bencher: Bencher<'_, '_>, name: &str, conf: &str) {
    let snapshot = load(name).unwrap_or_default();
    let Ok(recordings) = recordings(&snapshot) else {
        return;
    };
    let what_if = WhatIf {
        conf: Some(conf.to_owned()),
        capacity: Capacity::Unlimited,
        ..WhatIf::default()
    };
    bencher.counter(events(&snapshot)).bench(|| {
        simulate_recordings(&snapshot, &recordings, &what_if, &mut |_, _| {
            ControlFlow::Continue(())
        })
    });
}

#[divan::bench(args = FILES)]
fn simulate_default(bencher: Bencher<'_, '_>, name: &str) {
    simulate(bencher, name, "");
}

#[divan::bench(args = FILES)]
fn simulate_expandable(bencher: Bencher<'_, '_>, name: &str) {
    simulate(bencher, name, "expandable_segments:True");
}

/// The whole way from a snapshot: requests taken out of the trace, guesses corrected, compared.
#[divan::bench(args = FILES)]
fn replay(bencher: Bencher<'_, '_>, name: &str) {
    let snapshot = load(name).unwrap_or_default();
    bencher
        .counter(events(&snapshot))
        .bench(|| replay_recorded(&snapshot, DeviceId(0)));
}
