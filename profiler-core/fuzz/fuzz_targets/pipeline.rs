//! Any bytes that read as a snapshot: all that is made of it, up to the report's page, must end,
//! and sums of parts must be the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use profiler_core::read::read;

#[path = "../../tests/common/pipeline.rs"]
mod pipeline;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(snapshot) = read(bytes) {
        pipeline::run_pipeline(&snapshot, "fuzz", bytes.len() % 2 == 0);
    }
});
