//! Every public snapshot file against what `index.json` says of it (made with CPython's pickle).

mod common;

use profiler_core::read::{ReadError, read};
use profiler_core::snapshot::{BlockState, DeviceId, Snapshot, Stage};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn count<T: Ord, I: IntoIterator<Item = T>>(items: I) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}

/// What `index.json` counts, from a snapshot.
fn summary(snapshot: &Snapshot) -> BTreeMap<&'static str, Value> {
    let segments = snapshot.segments.all();
    let blocks = || {
        segments
            .iter()
            .flat_map(|segment| snapshot.segments.blocks(segment))
    };
    let rows = || {
        snapshot
            .traces
            .iter()
            .filter(|trace| trace.device != DeviceId::HOST)
            .flat_map(|trace| (0..trace.events.len()).map(move |row| (&trace.events, row)))
    };
    let actions = count(rows().map(|(events, row)| events.action_name(row, &snapshot.strings)));
    let states = count(blocks().map(|block| match block.state {
        BlockState::Allocated => "active_allocated",
        BlockState::PendingFree => "active_pending_free",
        BlockState::Inactive => "inactive",
    }));
    let pools = count(segments.iter().map(|segment| {
        let (a, b) = snapshot.pools.id(segment.pool);
        format!("({a}, {b})")
    }));
    let depth = rows()
        .map(|(events, row)| snapshot.stacks.depth(events.stack(row)))
        .max();
    let streams: BTreeSet<i64> = rows()
        .map(|(events, row)| snapshot.streams.pointer(events.stream(row)))
        .collect();
    BTreeMap::from([
        ("segments", json!(segments.len())),
        ("blocks", json!(blocks().count())),
        ("block_states", json!(states)),
        (
            "segments_per_device",
            json!(count(segments.iter().map(|s| s.device.0.to_string()))),
        ),
        ("pools", json!(pools)),
        (
            "expandable_segments",
            json!(segments.iter().filter(|s| s.is_expandable).count()),
        ),
        (
            "reserved",
            json!(segments.iter().map(|s| s.total_size).sum::<u64>()),
        ),
        (
            "allocated",
            json!(
                segments
                    .iter()
                    .filter_map(|s| s.allocated_size)
                    .sum::<u64>()
            ),
        ),
        (
            "active",
            json!(segments.iter().filter_map(|s| s.active_size).sum::<u64>()),
        ),
        ("actions", json!(actions)),
        ("n_devices", json!(snapshot.traces.len())),
        (
            "trace_len",
            json!(
                snapshot
                    .traces
                    .iter()
                    .map(|trace| trace.events.len())
                    .collect::<Vec<_>>()
            ),
        ),
        ("max_stack_depth", json!(depth.unwrap_or(0))),
        (
            "trace_entries_with_frames",
            json!(
                rows()
                    .filter(|(events, row)| !events.stack(*row).is_empty())
                    .count()
            ),
        ),
        (
            "blocks_with_frames",
            json!(blocks().filter(|block| !block.stack.is_empty()).count()),
        ),
        ("streams_in_trace", json!(streams.len())),
        ("annotations", json!(snapshot.annotations.len())),
    ])
}

#[test]
fn counts_equal_the_index() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let files = index["snapshots"].as_array().unwrap();
    assert_eq!(files.len(), 60);
    let mut wrong = Vec::new();
    for file in files {
        let name = file["name"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let snapshot = match read(&bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (key, found) in summary(&snapshot) {
            // The index counts frames and pools only where 2.1 and later have them, and has no
            // count where there is no list.
            let other_key = matches!(key, "blocks_with_frames" | "max_stack_depth" | "pools");
            if snapshot.features.block_history && other_key {
                continue;
            }
            if file[key].is_null() && found == json!(0) {
                continue;
            }
            if file[key] != found {
                wrong.push(format!(
                    "{name}: {key}: {} in the index, {found} read",
                    file[key]
                ));
            }
        }
        for warning in snapshot.warnings.all() {
            wrong.push(format!("{name}: warning {warning:?}"));
        }
        if let Some(settings) = file["allocator_settings"].as_object() {
            let read = snapshot.settings.expect("settings");
            let entries: BTreeMap<String, Value> = read
                .entries
                .iter()
                .map(|(key, text)| (key.clone(), serde_json::from_str(text).expect("JSON text")))
                .collect();
            if json!(entries) != json!(settings) {
                wrong.push(format!("{name}: settings {entries:?}"));
            }
        } else if snapshot.settings.is_some() {
            wrong.push(format!("{name}: settings from nowhere"));
        }
        let keys = |name: &str| {
            file[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect::<BTreeSet<_>>()
        };
        let (top, trace, block) = (keys("keys"), keys("trace_keys"), keys("block_keys"));
        let features = snapshot.features;
        let expected = [
            (features.device_traces, top.contains("device_traces")),
            (
                features.allocator_settings,
                top.contains("allocator_settings"),
            ),
            (
                features.external_annotations,
                top.contains("external_annotations"),
            ),
            (features.host_memory, top.contains("host_traces")),
            (features.time_us, trace.contains("time_us")),
            (features.compile_context, trace.contains("compile_context")),
            (features.user_metadata, trace.contains("user_metadata")),
            (features.event_pool_id, trace.contains("pool_id")),
            (features.forward_frames, trace.contains("forward_frames")),
            (features.block_address, block.contains("address")),
            (features.block_history, block.contains("history")),
            (features.bare_list, file["top"] == "list"),
        ];
        for (at, (read, in_index)) in expected.into_iter().enumerate() {
            if read != in_index {
                wrong.push(format!(
                    "{name}: feature {at}: {in_index} in the index, {read} read"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_2_0_history_gives_blocks_their_stack_and_request() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    // Counted with CPython: blocks whose history's first entry has frames, the sum of its
    // real_size over active blocks, and the deepest of those stacks.
    let expected = [
        ("flexgen-1.3b-snapshot-08fa.pickle", (592, 807_625_200, 12)),
        ("flexgen-1.3b-snapshot-c0cf.pickle", (603, 807_699_472, 12)),
    ];
    for (name, counts) in expected {
        let snapshot = read(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        let mut found = (0, 0, 0);
        for segment in snapshot.segments.all() {
            let mut next = segment.address;
            for block in snapshot.segments.blocks(segment) {
                assert_eq!(block.address, next, "addresses add up");
                next = block.end();
                let depth = snapshot.stacks.depth(block.stack);
                found.0 += u64::from(depth > 0);
                found.2 = found.2.max(depth);
                if block.state.is_active() {
                    found.1 += block.requested_size;
                }
            }
            assert_eq!(next, segment.end());
        }
        assert_eq!(found, counts, "{name}");
    }
}

#[test]
fn every_value_equals_a_plain_unpicklers() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    common::compare_folder(&folder, 60);
}

#[test]
fn html_equals_the_pickle_it_was_made_of() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    let load = |name: &str| read(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    let html = load("duoan-xl-ctx128-inference.memviz.html");
    let pickle = load("duoan-xl-ctx128-inference.pickle");
    assert_eq!(summary(&html), summary(&pickle));
    common::assert_same(&html, &pickle);
}

#[test]
fn annotations_are_whole() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    let mut met = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "pickle")
        {
            continue;
        }
        let snapshot = read(&std::fs::read(&path).unwrap()).unwrap();
        for annotation in &snapshot.annotations {
            assert!(!snapshot.strings.get(annotation.name).is_empty());
            assert!(matches!(annotation.stage, Stage::Start | Stage::End));
            assert!(annotation.time_us > 1_600_000_000_000_000, "{annotation:?}");
            met += 1;
        }
    }
    assert!(met > 0, "some public files have annotations");
}

#[test]
fn profiler_traces_are_named() {
    let Some(folder) = common::shared().map(|shared| shared.join("public")) else {
        return;
    };
    for name in [
        "hta-df-index-resolver.pt.trace.json.gz",
        "kineto-resnet50-nw0.pt.trace.json.gz",
    ] {
        let error = read(&std::fs::read(folder.join(name)).unwrap()).unwrap_err();
        assert!(
            matches!(error, ReadError::NotASnapshot { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("Chrome trace"), "{error}");
    }
}
