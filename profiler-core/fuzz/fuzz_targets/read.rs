//! Any bytes: reading them must end, with a snapshot or an error, and never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use profiler_core::read::read;

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Ok(snapshot) => {
            // The tables hold together: every handle leads somewhere.
            for trace in &snapshot.traces {
                for row in 0..trace.events.len() {
                    let event = trace.events.get(row);
                    let _ = snapshot.stacks.frames(event.stack).count();
                    let _ = trace.events.action_name(row, &snapshot.strings);
                }
            }
            for segment in snapshot.segments.all() {
                let _ = snapshot.segments.blocks(segment).len();
            }
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
