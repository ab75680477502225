//! Any bytes: reading them must end, with a snapshot or an error, and never panic; and reading
//! ahead must give what reading opcode by opcode gives.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
#[path = "../../tests/common/both.rs"]
mod both;

fuzz_target!(|bytes: &[u8]| {
    match both::read_both_ways(bytes) {
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
