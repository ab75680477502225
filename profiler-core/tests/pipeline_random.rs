//! Everything after the reader on snapshots no allocator could have written: addresses at the end
//! of the address space, overlaps, frees of nothing, times out of order, settings out of range.
//! Nothing may panic (overflow checks are on in this profile), and what is exact stays exact.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ops::ControlFlow;

use common::pipeline::run_pipeline;
use profiler_core::allocator::{WhatIf, simulate};
use profiler_core::attribution::Attribution;
use profiler_core::oom::{MAX_JUDGED, judge_all};
use profiler_core::replay::Replay;
use profiler_core::snapshot::{
    Action, AllocatorSettings, Annotation, Block, BlockState, DeviceId, Event, Frame, Segment,
    SegmentKind, Snapshot, StackId, Stage, Trace, WarningKind,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// Places and sizes: a few close together, so that they collide, and the extremes.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..12).prop_map(|n| 0x7000_0000_0000 + n * 512),
        6 => (0_u64..12).prop_map(|n| 0x7000_0000_0000 + n * 2 * MIB),
        1 => Just(0_u64),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 511),
        2 => Just(u64::MAX - 2 * MIB + 1),
        1 => Just(1_u64 << 63),
        1 => any::<u64>(),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..6).prop_map(|n| n * 512),
        6 => (1_u64..12).prop_map(|n| n * 2 * MIB),
        1 => Just(1_u64),
        1 => Just(u64::MAX),
        1 => Just(i64::MAX as u64),
        1 => Just(1_u64 << 40),
        1 => any::<u64>(),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0_i64..1000,
        2 => 1_700_000_000_000_000_i64..1_700_000_000_001_000,
        1 => Just(i64::MIN),
        1 => Just(i64::MIN + 1),
        1 => Just(i64::MAX),
    ]
}

fn device() -> impl Strategy<Value = i32> {
    prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(-1), 1 => Just(i32::MIN), 1 => Just(i32::MAX)]
}

const TEXTS: [&str; 12] = [
    "</script><script>alert(1)</script>",
    "\u{1b}[31mred\u{9b}0m\u{202e}",
    "/home/alice/secret/train.py",
    "forward",
    "backward",
    "_call_impl",
    "/usr/lib/python3/dist-packages/torch/nn/modules/module.py",
    "Optimizer.step#AdamW.step",
    "## forward ##",
    "ProfilerStep#18446744073709551616",
    "{\"a\":[[[[[[",
    "",
];

/// One event in numbers: action, address, size, stream, time, texts.
type Row = (usize, u64, u64, i64, i64, (usize, usize));
/// One block of a final segment: address, size, requested, state.
type BlockRow = (u64, u64, u64, u8);
/// One final segment: device, address, size, expandable and large, blocks.
type SegmentRow = (i32, u64, u64, (bool, bool), Vec<BlockRow>);

fn row() -> impl Strategy<Value = Row> {
    let stream = prop_oneof![4 => Just(0_i64), 1 => Just(7), 1 => Just(i64::MIN)];
    let texts = (0..TEXTS.len(), 0..TEXTS.len());
    (
        0..Action::NAMES.len() + 1,
        address(),
        size(),
        stream,
        time(),
        texts,
    )
}

fn segment() -> impl Strategy<Value = SegmentRow> {
    let block = (address(), size(), size(), 0_u8..3);
    let blocks = prop::collection::vec(block, 0..6);
    (device(), address(), size(), any::<(bool, bool)>(), blocks)
}

fn settings() -> impl Strategy<Value = Option<AllocatorSettings>> {
    let number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(0.5)];
    let conf = prop_oneof![
        Just("expandable_segments:True"),
        Just("max_split_size_mb:18446744073709551615"),
        Just("roundup_power2_divisions:[256:1,>:18446744073709551615]"),
        Just("garbage_collection_threshold:nan,,,:::"),
    ];
    let divisions = prop::collection::vec((any::<u64>(), any::<u64>()), 0..3);
    let made = (
        conf,
        number,
        prop::option::of(size()),
        prop::option::of(any::<bool>()),
        divisions,
    );
    let made =
        made.prop_map(
            |(conf, threshold, max_split, expandable, divisions)| AllocatorSettings {
                conf: conf.to_owned(),
                max_split_size: max_split,
                garbage_collection_threshold: threshold,
                expandable_segments: expandable,
                roundup_power2_divisions: divisions,
                entries: vec![(TEXTS[0].to_owned(), TEXTS[2].to_owned())],
            },
        );
    prop::option::of(made)
}

/// A call stack of three frames out of the texts.
fn stack(snapshot: &mut Snapshot, texts: (usize, usize)) -> StackId {
    let frames: Vec<_> = [texts.0, texts.1, texts.0 + 1]
        .iter()
        .map(|&text| Frame {
            name: snapshot.strings.intern(TEXTS[text % TEXTS.len()]),
            filename: snapshot.strings.intern(TEXTS[texts.1]),
            line: u64::MAX,
            ..Frame::default()
        })
        .collect();
    let frames: Vec<_> = frames
        .into_iter()
        .map(|frame| snapshot.frames.intern(frame))
        .collect();
    snapshot.stacks.intern(&frames)
}

fn build(
    traces: &[(i32, Vec<Row>)],
    segments: &[SegmentRow],
    annotations: &[(i32, i64, usize, bool)],
    settings: Option<AllocatorSettings>,
) -> Snapshot {
    let mut snapshot = Snapshot {
        settings,
        ..Snapshot::default()
    };
    for (device, rows) in traces {
        let mut trace = Trace {
            device: DeviceId(*device),
            ..Trace::default()
        };
        for &(action, address, size, stream, time_us, texts) in rows {
            let action = Action::NAMES
                .get(action)
                .map_or(Action::Other, |(action, _)| *action);
            let text = snapshot.strings.intern(TEXTS[texts.1]);
            trace.events.push(&Event {
                action,
                address,
                size,
                stream: snapshot.streams.intern(stream),
                time_us,
                stack: stack(&mut snapshot, texts),
                pool: snapshot.pools.intern((texts.0 as u64 % 2, 0)),
                user_metadata: text,
                category: text,
                ..Event::default()
            });
        }
        snapshot.traces.push(trace);
    }
    for (device, address, size, (expandable, large), blocks) in segments {
        let blocks: Vec<Block> = blocks
            .iter()
            .map(|&(address, size, requested_size, state)| Block {
                address,
                size,
                requested_size,
                state: match state {
                    0 => BlockState::Allocated,
                    1 => BlockState::PendingFree,
                    _ => BlockState::Inactive,
                },
                ..Block::default()
            })
            .collect();
        let segment = Segment {
            device: DeviceId(*device),
            address: *address,
            total_size: *size,
            is_expandable: *expandable,
            kind: if *large {
                SegmentKind::Large
            } else {
                SegmentKind::Small
            },
            ..Segment::default()
        };
        snapshot.segments.push(segment, &blocks);
    }
    for &(device, time_us, text, start) in annotations {
        let name = snapshot.strings.intern(TEXTS[text]);
        snapshot.annotations.push(Annotation {
            name,
            stage: if start { Stage::Start } else { Stage::End },
            device: DeviceId(device),
            time_us,
        });
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_panics_and_sums_are_the_whole(
        traces in prop::collection::vec((device(), prop::collection::vec(row(), 0..40)), 0..3),
        segments in prop::collection::vec(segment(), 0..5),
        annotations in prop::collection::vec(
            (device(), time(), 0..TEXTS.len(), any::<bool>()), 0..12),
        settings in settings(),
        redact in any::<bool>(),
    ) {
        let snapshot = build(&traces, &segments, &annotations, settings);
        let page = run_pipeline(&snapshot, TEXTS[0], redact);
        prop_assert!(!page.contains("<script>alert"));
        prop_assert!(!redact || !page.contains("alice"));
    }
}

#[test]
fn more_devices_than_there_can_be_are_left_out_and_named() {
    let traces: Vec<(i32, Vec<Row>)> = (0..1000)
        .map(|device| (device, vec![(0, 512, 512, 0, 0, (0, 0))]))
        .collect();
    let snapshot = build(&traces, &[], &[], None);
    let replay = Replay::new(&snapshot);
    assert_eq!(replay.devices.len(), Snapshot::MAX_DEVICES);
    let first = &replay.warnings.all()[0];
    assert_eq!(first.kind, WarningKind::Truncated);
    assert!(first.message.contains("1000 devices"), "{}", first.message);
    assert!(
        simulate(&snapshot, &WhatIf::default(), &mut |_, _| {
            ControlFlow::Continue(())
        })
        .is_err()
    );
}

#[test]
fn of_very_many_failures_the_last_are_judged() {
    let oom = Action::NAMES
        .iter()
        .position(|(action, _)| *action == Action::Oom)
        .unwrap();
    let rows = vec![(oom, 0, 512, 0, 0, (0, 0)); 500];
    let snapshot = build(&[(0, rows)], &[], &[], None);
    let replay = Replay::new(&snapshot);
    let attribution = Attribution::new(&snapshot, &replay);
    let judged = judge_all(&snapshot, &replay.devices[0], &attribution, None);
    assert_eq!(judged.len(), MAX_JUDGED);
    assert_eq!(judged.last().unwrap().0.evidence.event, 499);
}
