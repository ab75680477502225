//! Every snapshot of the simulated device against what PyTorch's own statistics said.

mod common;

use profiler_core::read::read;
use profiler_core::snapshot::{Action, DeviceId};
use serde_json::Value;

#[test]
fn final_state_equals_the_statistics() {
    let Some(folder) = common::shared().map(|shared| shared.join("simulated")) else {
        return;
    };
    let truth = std::fs::read_to_string(folder.join("truth.jsonl")).unwrap();
    let mut files = 0;
    let mut wrong = Vec::new();
    for line in truth.lines() {
        let truth: Value = serde_json::from_str(line).unwrap();
        let name = truth["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let snapshot = match read(&bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        files += 1;
        for warning in snapshot.warnings.all() {
            wrong.push(format!("{name}: warning {warning:?}"));
        }
        for (device, stats) in truth["devices"].as_object().unwrap() {
            let device = DeviceId(device.parse().unwrap());
            let mut found = [0_u64; 4];
            for segment in snapshot.segments.of_device(device) {
                found[0] += segment.total_size;
                for block in snapshot.segments.blocks(segment) {
                    if block.state.is_active() {
                        found[1] += block.size;
                        found[2] += block.requested_size;
                    }
                }
            }
            found[3] = snapshot.trace(device).map_or(0, |trace| {
                trace
                    .events
                    .actions()
                    .iter()
                    .filter(|&&action| action == Action::Oom)
                    .count() as u64
            });
            let keys = [
                "reserved_bytes.all.current",
                "active_bytes.all.current",
                "requested_bytes.all.current",
                "num_ooms",
            ];
            for (key, found) in keys.into_iter().zip(found) {
                if stats[key].as_u64() != Some(found) {
                    wrong.push(format!("{name}: {device}: {key} {} {found}", stats[key]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(files, 48);
}

#[test]
fn every_value_equals_a_plain_unpicklers() {
    let Some(folder) = common::shared().map(|shared| shared.join("simulated")) else {
        return;
    };
    common::compare_folder(&folder, 48);
}
