//! How fast snapshots are read. The files are made by `benches/make_snapshots.py` (see
//! `benches/README.md`); without them there is nothing to measure.

#![allow(clippy::print_stdout, reason = "says what is missing")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use profiler_core::read::read;
use std::path::PathBuf;

fn main() {
    if files().is_empty() {
        println!("skipped: no files in {}", folder().display());
        return;
    }
    divan::main();
}

/// Where the files are: `GPUMEMPROF_BENCH`, or `gpumemprof-bench` in the temporary folder.
fn folder() -> PathBuf {
    std::env::var_os("GPUMEMPROF_BENCH").map_or_else(
        || std::env::temp_dir().join("gpumemprof-bench"),
        PathBuf::from,
    )
}

fn files() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".pickle"))
        .collect();
    names.sort();
    names
}

#[divan::bench(args = files(), sample_count = 5, sample_size = 1)]
fn read_file(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = std::fs::read(folder().join(name)).unwrap_or_default();
    let events: usize = read(&bytes).map_or(0, |snapshot| {
        snapshot.traces.iter().map(|t| t.events.len()).sum()
    });
    bencher
        .counter(BytesCount::new(bytes.len()))
        .counter(ItemsCount::new(events))
        .bench(|| read(divan::black_box(&bytes)).is_ok());
}
