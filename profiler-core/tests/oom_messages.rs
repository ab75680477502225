//! Every real out-of-memory message of the reference collection is read as its collector read it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use profiler_core::oom::{Amount, OomMessage, find_messages};
use serde_json::Value;

fn check(found: &OomMessage, key: &str, expected: &Value, text: &str) {
    let amount = match key {
        "tried" => found.requested,
        "total" => found.total,
        "free" => found.free,
        "allocated" => found.allocated,
        "reserved" => found.reserved,
        "cached" | "reserved_unallocated" => found.reserved_unallocated,
        "private_pools" => found.private_pools,
        "this_process" => found.this_process,
        "gpu" => {
            assert_eq!(found.device, expected.as_u64(), "{text}");
            return;
        }
        "rank" => {
            assert_eq!(found.rank, expected.as_u64(), "{text}");
            return;
        }
        "backend" => {
            assert_eq!(Some(found.backend.as_str()), expected.as_str(), "{text}");
            return;
        }
        "processes" => {
            let expected = expected.as_object().unwrap();
            assert_eq!(found.processes.len(), expected.len(), "{text}");
            for process in &found.processes {
                let size = expected[&process.process.to_string()].as_str().unwrap();
                assert_eq!(
                    written(Some(process.amount)),
                    Some(size.to_owned()),
                    "{text}"
                );
            }
            return;
        }
        // Where the message stands in THC's sources, what its collector remarked, and the NPU's
        // "current active" are not read.
        "source_file" | "line" | "note" | "active" => return,
        other => panic!("unknown expectation {other}"),
    };
    assert_eq!(
        written(amount).as_deref(),
        expected.as_str(),
        "{key}: {text}"
    );
}

/// As PyTorch's `format_size` writes it.
fn written(amount: Option<Amount>) -> Option<String> {
    let bytes = amount?.bytes;
    Some(match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.2} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    })
}

#[test]
fn every_wording_is_read() {
    let Some(shared) = common::shared() else {
        return;
    };
    let lines = std::fs::read_to_string(shared.join("public/oom-messages.jsonl")).unwrap();
    let mut seen = 0;
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        let found = find_messages(text);
        if case["family"].as_str().unwrap().starts_with("F11") {
            // A memory_summary() table is no error message.
            assert!(found.is_empty());
            continue;
        }
        assert_eq!(found.len(), 1, "{text}");
        for (key, expected) in case["expect"].as_object().unwrap() {
            check(&found[0], key, expected, text);
        }
        seen += 1;
    }
    assert!(seen > 15);
}
