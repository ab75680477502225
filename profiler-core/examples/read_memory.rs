//! How fast a snapshot file is read, and how much memory that takes beside the mapped file.
//!
//! ```text
//! cargo run --release -p profiler-core --example read_memory -- FILE [REPETITIONS]
//! ```

#![allow(clippy::print_stdout, reason = "it is a command")]
#![allow(unsafe_code, reason = "the file is mapped")]

use profiler_core::read::{Progress, ReadOptions, read_bytes};
use std::ops::ControlFlow;

/// Anonymous resident memory of this process in bytes: what is not the mapped file (Linux).
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Time this thread has had on a processor, in seconds (Linux): other programs do not count.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected a file")?;
    let repetitions = arguments.next().map_or(Ok(3), |text| text.parse::<u32>())?;
    let file = std::fs::File::open(&path)?;
    // SAFETY: nothing else writes the file while it is measured.
    let bytes = unsafe { memmap2::Mmap::map(&file)? };

    // Memory first, in a process that has read nothing before; looking at it costs time.
    let before = anonymous();
    let mut peak = before;
    let mut watch = |_: Progress| {
        peak = peak.max(anonymous());
        ControlFlow::Continue(())
    };
    let snapshot = read_bytes(&bytes, &ReadOptions::default(), &mut watch)?;
    let after = anonymous();
    peak = peak.max(after) - before;
    let events: usize = snapshot.traces.iter().map(|t| t.events.len()).sum();
    let distinct = snapshot.stacks.len();
    drop(snapshot);

    let mut best = f64::INFINITY;
    for _ in 0..repetitions {
        let start = processor_seconds();
        let snapshot = read_bytes(&bytes, &ReadOptions::default(), &mut |_| {
            ControlFlow::Continue(())
        })?;
        best = best.min(processor_seconds() - start);
        drop(snapshot);
    }
    let size = bytes.len() as f64;
    println!(
        "{path}: {:.1} MB, {events} events ({:.0} B/event), {distinct} stack nodes; best of \
         {repetitions}: {best:.3} s of processor time, {:.0} MB/s, {:.2} M events/s; peak {:.1} MB = {:.1} B/event, \
         kept {:.1} MB",
        size / 1e6,
        size / events.max(1) as f64,
        size / 1e6 / best,
        events as f64 / 1e6 / best,
        peak as f64 / 1e6,
        peak as f64 / events.max(1) as f64,
        (after - before) as f64 / 1e6,
    );
    Ok(())
}
