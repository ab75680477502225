//! A replay that was begun while the file was still being read is the replay.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ops::ControlFlow;
use std::path::PathBuf;

use profiler_core::read::{Progress, ReadOptions, read_followed};
use profiler_core::replay::{Follower, Replay};
use profiler_core::snapshot::{Events, Snapshot};

fn files() -> Vec<PathBuf> {
    let Some(shared) = common::shared() else {
        return Vec::new();
    };
    let folders = ["public", "simulated"];
    let files = folders.map(|folder| common::snapshot_files(&shared.join(folder)));
    files.concat()
}

fn assert_same(found: &Replay, snapshot: &Snapshot, name: &str) {
    let expected = Replay::new(snapshot);
    assert_eq!(found.devices.len(), expected.devices.len(), "{name}");
    for (found, expected) in found.devices.iter().zip(&expected.devices) {
        let same = format!("{found:?}") == format!("{expected:?}");
        assert!(same, "{name}, device {}", expected.device);
    }
    let warnings = |replay: &Replay| format!("{:?}", replay.warnings);
    assert_eq!(warnings(found), warnings(&expected), "{name}");
}

/// What is shown while a file is read is what it turns out to have.
#[test]
fn what_is_shown_while_reading_is_what_is_read() {
    let (mut shown, mut found_ahead) = (0, 0);
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let mut follower = Follower::default();
        let mut parts: Vec<Events> = Vec::new();
        let mut follow = |_: Progress, lists: &[Events]| {
            parts.resize_with(parts.len().max(lists.len()), Events::default);
            for (list, (events, seen)) in lists.iter().zip(&mut parts).enumerate() {
                let mut part = Events::default();
                part.append(events, seen.len());
                follower.see(list, &part);
                seen.append(&part, 0);
            }
            ControlFlow::Continue(())
        };
        let read = read_followed(&bytes, &ReadOptions::default(), &mut follow).unwrap();
        let name = common::name(&path);
        for (trace, list) in read.snapshot.traces.iter().zip(&read.lists) {
            let Some(seen) = list.and_then(|list| parts.get(list)) else {
                continue;
            };
            shown += seen.len();
            for row in 0..seen.len() {
                assert_eq!(seen.get(row), trace.events.get(row), "{name}, event {row}");
            }
        }
        let found = Replay::followed(&read.snapshot, &mut follower, &read.lists);
        let lists = 0..read.lists.len();
        found_ahead += lists
            .filter_map(|list| follower.take_allocated(list))
            .count();
        assert_same(&found, &read.snapshot, name);
    }
    assert!(common::shared().is_none() || shown > 100_000, "{shown}");
    // Some of them began with nothing, so that their blocks were found while reading.
    assert!(common::shared().is_none() || found_ahead > 0);
}

/// Wherever a recording is cut into parts.
#[test]
fn parts_of_any_length_give_the_same_replay() {
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let snapshot = profiler_core::read::read(&bytes).unwrap();
        let mut follower = Follower::default();
        let mut lists = Vec::new();
        for (row, trace) in snapshot.traces.iter().enumerate() {
            // Lists are numbered in another order than devices, and not all is seen.
            let list = 2 * (snapshot.traces.len() - row);
            lists.push(Some(list));
            let mut next = 0;
            let mut length = 1;
            while next + length < trace.events.len() {
                let mut rest = Events::default();
                rest.append(&trace.events, next);
                let mut part = Events::default();
                (0..length).for_each(|row| {
                    part.push(&rest.get(row));
                });
                follower.see(list, &part);
                next += length;
                length *= 3;
            }
        }
        let found = Replay::followed(&snapshot, &mut follower, &lists);
        assert_same(&found, &snapshot, common::name(&path));
    }
}
