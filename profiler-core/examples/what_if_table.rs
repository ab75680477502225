//! Predicts every run of `benches/what-if/runs.py` from its program's default snapshot alone, and
//! prints how the predictions compare with PyTorch's own statistics, as the tables of
//! `benches/what-if.md`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement, not part of the library"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use profiler_core::allocator::{
    Capacity, DeviceSimulation, Ending, Recording, TorchVersion, WhatIf, recordings,
    simulate_recordings,
};
use profiler_core::read::read;
use profiler_core::snapshot::Snapshot;
use serde_json::Value;

/// What is compared: name in PyTorch's statistics, and here.
fn compare(truth: &Value, device: &DeviceSimulation) -> Vec<(&'static str, u64, u64)> {
    let counters = &device.counters;
    // The last allocation served before a failure tells at which event it is.
    let pairs = [
        ("reserved_bytes.all.peak", counters.reserved.peak),
        ("allocated_bytes.all.peak", counters.allocated.peak),
        ("requested_bytes.all.peak", counters.requested.peak),
        ("active_bytes.all.peak", counters.active.peak),
        ("reserved_bytes.all.current", counters.reserved.current),
        ("segment.all.peak", counters.segments.peak),
        ("num_device_alloc", counters.device_allocs),
        ("num_device_free", counters.device_frees),
        ("num_alloc_retries", counters.alloc_retries),
        ("num_ooms", counters.ooms),
        ("allocation.all.allocated", device.served),
    ];
    pairs
        .map(|(name, simulated)| (name, truth[name].as_u64().unwrap(), simulated))
        .to_vec()
}

type Cells = BTreeMap<(String, String), BTreeMap<String, String>>;

fn main() {
    let folders: Vec<String> = std::env::args().skip(1).collect();
    let mut table = Cells::new();
    let mut notes = Vec::new();
    let (mut exact, mut all, mut oom_cells) = (0, 0, 0);
    for folder in &folders {
        let folder = Path::new(folder);
        let text = std::fs::read_to_string(folder.join("truth.jsonl")).expect("truth.jsonl");
        let mut loaded: BTreeMap<String, (Snapshot, Vec<Recording>)> = BTreeMap::new();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let file = row["file"].as_str().unwrap();
            let (snapshot, recordings) = loaded.entry(file.to_owned()).or_insert_with(|| {
                let snapshot = read(&std::fs::read(folder.join(file)).unwrap()).unwrap();
                let recordings = recordings(&snapshot).unwrap();
                (snapshot, recordings)
            });
            let version: TorchVersion = row["torch"].as_str().unwrap().parse().unwrap();
            let conf = row["alloc_conf"].as_str().unwrap();
            let mib = row["device_mib"].as_u64().unwrap();
            let what_if = WhatIf {
                conf: Some(conf.to_owned()),
                version: Some(version),
                capacity: Capacity::Bytes(mib << 20),
                memory_fraction: row["memory_fraction"].as_f64(),
                ..WhatIf::default()
            };
            let simulation = simulate_recordings(snapshot, recordings, &what_if, &mut |_, _| {
                ControlFlow::Continue(())
            })
            .unwrap();
            let device = &simulation.devices[0];
            let truth = &row["devices"]["0"];
            let wrong: Vec<_> = compare(truth, device)
                .into_iter()
                .filter(|(_, real, simulated)| real != simulated)
                .collect();
            all += 1;
            let ran_out = matches!(device.ending, Ending::OutOfMemory { .. });
            oom_cells += u32::from(ran_out);
            let mark = if wrong.is_empty() {
                exact += 1;
                if ran_out { "exact (OOM)" } else { "exact" }.to_owned()
            } else {
                let program = row["program"].as_str().unwrap();
                notes.push(format!("{version} {program} `{conf}` {mib} MiB: {wrong:?}"));
                let (_, real, simulated) = compare(truth, device)[0];
                let error = simulated as f64 / real as f64 * 100.0 - 100.0;
                format!("{error:+.2} %")
            };
            let column = format!("{} {version}", row["program"].as_str().unwrap());
            let limit = if mib == 81920 {
                String::new()
            } else {
                let share = mib as f64 * f64::from(1 << 20)
                    / recordings[0].fidelity.peak_reserved_recorded as f64;
                format!(", {:.0} % of the default peak", share * 100.0)
            };
            let key = (conf.to_owned(), limit);
            table.entry(key).or_default().insert(column, mark);
        }
    }
    println!("{exact} of {all} runs exact in every statistic; {oom_cells} run out of memory\n");
    let columns: std::collections::BTreeSet<&String> =
        table.values().flat_map(BTreeMap::keys).collect();
    let names: Vec<&str> = columns.iter().map(|name| name.as_str()).collect();
    println!("| settings | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for ((conf, limit), row) in &table {
        let cells: Vec<&str> = columns
            .iter()
            .map(|column| row.get(*column).map_or("–", String::as_str))
            .collect();
        println!("| `{conf}`{limit} | {} |", cells.join(" | "));
    }
    println!();
    for note in notes {
        println!("* {note}");
    }
}
