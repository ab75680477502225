//! Random snapshots, written by every encoder and read back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::both::read_both_ways;
use common::tree::Tree;
use common::{assert_tells, encode};
use profiler_core::read::read;
use proptest::prelude::*;

/// Numbers of every width a pickle writes differently.
fn number() -> impl Strategy<Value = i128> {
    prop_oneof![
        0..300_i128,
        0..70_000_i128,
        0..(1_i128 << 33),
        (1_i128 << 46)..(1 << 47),
        (1_i128 << 62)..(1 << 63),
    ]
}

fn word() -> impl Strategy<Value = Tree> {
    prop_oneof![
        "[a-z_./]{0,12}",
        "\\PC{0,8}",
        "[\\n\\\\\"'\u{0}-\u{ff}]{0,4}",
        "x{250,260}",
        Just("frames".to_owned()),
        Just("N/A".to_owned()),
    ]
    .prop_map(|text| Tree::text(&text))
}

fn frame() -> impl Strategy<Value = Tree> {
    (word(), word(), number(), option(word()), any::<u8>()).prop_map(
        |(name, filename, line, fx, turn)| {
            let mut items = vec![
                ("name", name),
                ("filename", filename),
                ("line", Tree::Int(line)),
            ];
            if let Some(fx) = fx {
                items.push(("fx_node_op", fx));
            }
            turned(items, turn)
        },
    )
}

fn option<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::of(strategy)
}

/// A dict with its keys rotated: their order may be any.
fn turned(mut items: Vec<(&str, Tree)>, turn: u8) -> Tree {
    let len = items.len();
    items.rotate_left(usize::from(turn) % len);
    Tree::pairs(items)
}

fn stacks() -> impl Strategy<Value = Vec<Tree>> {
    prop::collection::vec(frame(), 1..6).prop_flat_map(|frames| {
        let list = prop::collection::vec(prop::sample::select(frames), 0..7).prop_map(Tree::list);
        prop::collection::vec(list, 1..5)
    })
}

fn event(stacks: Vec<Tree>) -> impl Strategy<Value = Tree> {
    const ACTIONS: &[&str] = &[
        "alloc",
        "free_requested",
        "free_completed",
        "segment_alloc",
        "segment_map",
        "oom",
        "snapshot",
    ];
    (
        prop::sample::select(ACTIONS),
        (number(), number(), number()),
        option(number()),
        option(prop::sample::select(stacks)),
        option((0..4_i128, 0..3_i128)),
        option(word()),
        option(prop::collection::vec(word(), 1..4)),
        any::<u8>(),
    )
        .prop_map(
            |(action, (address, size, stream), time, frames, pool, metadata, lines, turn)| {
                let address_key = if action == "oom" {
                    "device_free"
                } else {
                    "addr"
                };
                let mut items = vec![
                    ("action", Tree::text(action)),
                    (address_key, Tree::Int(address)),
                    ("size", Tree::Int(size)),
                    ("stream", Tree::Int(stream)),
                ];
                items.extend(time.map(|time| ("time_us", Tree::Int(time))));
                items.extend(frames.map(|frames| ("frames", frames)));
                items.extend(pool.map(|(a, b)| ("pool_id", Tree::pair(a, b))));
                items.extend(metadata.map(|text| ("user_metadata", text)));
                items.extend(lines.map(|lines| ("forward_frames", Tree::list(lines))));
                turned(items, turn)
            },
        )
}

fn segment(stacks: Vec<Tree>) -> impl Strategy<Value = Tree> {
    const STATES: &[&str] = &["active_allocated", "active_pending_free", "inactive"];
    let block = (
        (number(), number(), 0..1_i128 << 40),
        prop::sample::select(STATES),
        option(prop::sample::select(stacks.clone())),
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(
            |((address, requested, size), state, frames, has_address, turn)| {
                let mut items = vec![
                    ("size", Tree::Int(size)),
                    ("requested_size", Tree::Int(requested)),
                    ("state", Tree::text(state)),
                ];
                if has_address {
                    items.push(("address", Tree::Int(address)));
                }
                items.extend(frames.map(|frames| ("frames", frames)));
                turned(items, turn)
            },
        );
    (
        (number(), number(), -1..3_i128),
        option((number(), number())),
        prop::collection::vec(block, 0..5),
        prop::sample::select(stacks),
        any::<(bool, u8)>(),
    )
        .prop_map(
            |((address, size, device), sizes, blocks, frames, (flag, turn))| {
                let mut items = vec![
                    ("device", Tree::Int(device)),
                    ("address", Tree::Int(address)),
                    ("total_size", Tree::Int(size)),
                    ("blocks", Tree::list(blocks)),
                    ("frames", frames),
                    ("is_expandable", Tree::Bool(flag)),
                    (
                        "segment_type",
                        Tree::text(if flag { "small" } else { "large" }),
                    ),
                    ("segment_pool_id", Tree::pair(0, i128::from(flag))),
                ];
                if let Some((allocated, active)) = sizes {
                    items.push(("allocated_size", Tree::Int(allocated)));
                    items.push(("active_size", Tree::Int(active)));
                }
                turned(items, turn)
            },
        )
}

fn snapshot() -> impl Strategy<Value = Tree> {
    stacks()
        .prop_flat_map(|stacks| {
            let trace = || prop::collection::vec(event(stacks.clone()), 0..12).prop_map(Tree::list);
            let annotation = (word(), any::<bool>(), number(), any::<u8>()).prop_map(
                |(name, start, time, turn)| {
                    let stage = Tree::text(if start { "START" } else { "END" });
                    let items = vec![
                        ("name", name),
                        ("stage", stage),
                        ("device", Tree::Int(0)),
                        ("time_us", Tree::Int(time)),
                    ];
                    turned(items, turn)
                },
            );
            (
                prop::collection::vec(trace(), 0..4).prop_map(Tree::list),
                prop::collection::vec(segment(stacks.clone()), 0..4).prop_map(Tree::list),
                option(prop::collection::vec(annotation, 0..4).prop_map(Tree::list)),
                option(trace()),
                any::<u8>(),
            )
        })
        .prop_map(|(traces, segments, annotations, host, turn)| {
            let mut items = vec![("device_traces", traces), ("segments", segments)];
            items.extend(annotations.map(|list| ("external_annotations", list)));
            items.extend(host.map(|list| ("host_traces", list)));
            turned(items, turn)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(tree in snapshot()) {
        for protocol in 0..6 {
            let bytes = encode::cpython(&tree, protocol);
            assert_tells(&read_both_ways(&bytes).unwrap(), &tree, &format!("protocol {protocol}"));
        }
        assert_tells(&read_both_ways(&encode::cpp(&tree)).unwrap(), &tree, "C++");
        assert_tells(&read(tree.json().as_bytes()).unwrap(), &tree, "JSON");
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), protocol in 2..6_u8) {
        let _ = read_both_ways(&[&[0x80, protocol][..], &bytes].concat());
        let _ = read(&bytes);
    }
}
