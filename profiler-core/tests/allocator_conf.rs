//! Settings strings against PyTorch itself: `alloc_conf.jsonl` has what versions 2.6.0 and 2.15.0
//! made of each (written by `benches/what-if/settings.py`).

#![allow(clippy::unwrap_used, reason = "a test")]

use profiler_core::allocator::{Settings, TorchVersion};
use serde_json::{Value, json};

/// The settings as `allocator_settings` of a snapshot shows them.
fn decoded(settings: &Settings) -> Value {
    json!({
        // Shown as a signed number: no limit is −1.
        "max_split_size": settings.max_split_size.cast_signed(),
        "garbage_collection_threshold": settings.garbage_collection_threshold,
        "expandable_segments": settings.expandable_segments,
        "roundup_power2_divisions": settings.roundup_power2_divisions,
    })
}

#[test]
fn strings_read_and_refused_as_by_pytorch() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("alloc_conf.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let version: TorchVersion = row["torch"].as_str().unwrap().parse().unwrap();
        let conf = row["conf"].as_str().unwrap();
        let read = Settings::from_conf(conf, version);
        let ours = read.as_ref().map_or(Value::Null, decoded);
        count += 1;
        // 2.6 reads past the end of a list without "]" and dies of it.
        let theirs = match &row["decoded"] {
            Value::String(aborted) if aborted == "aborted" => &Value::Null,
            decoded => decoded,
        };
        if ours != *theirs {
            wrong.push(format!(
                "{version} {conf:?}: {theirs}, here {ours} ({read:?})"
            ));
        }
    }
    assert_eq!(count, 224);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
