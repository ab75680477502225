//! Traces that no allocator made: nothing may panic, hang or count backwards.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ops::ControlFlow;

use profiler_core::allocator::{
    AdviseOptions, Capacity, WhatIf, advise, replay_recorded, simulate,
};
use profiler_core::snapshot::{
    Action, AllocatorSettings, Block, BlockState, DeviceId, Event, PoolId, Segment, SegmentKind,
    Snapshot, StreamId, Trace,
};
use proptest::prelude::*;

/// Sizes and addresses that are few, so that events meet, and extreme, so that sums overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0_u64..12).prop_map(|n| n << 20),
        4 => (0_u64..40).prop_map(|n| n * 512),
        1 => Just(u64::MAX),
        1 => Just(1 << 63),
        1 => any::<u64>(),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let actions = Action::NAMES.map(|(action, _)| action).to_vec();
    (
        prop::sample::select(actions),
        number(),
        number(),
        0_u32..3,
        0_u32..2,
    )
        .prop_map(|(action, address, size, stream, pool)| Event {
            action,
            address,
            size,
            stream: StreamId(stream),
            pool: PoolId(pool),
            ..Event::default()
        })
}

fn segment() -> impl Strategy<Value = (Segment, Vec<Block>)> {
    let block = (number(), number(), number(), 0_u8..3);
    let blocks = prop::collection::vec(block, 0..6);
    (number(), number(), any::<[bool; 2]>(), blocks).prop_map(|(address, size, flags, blocks)| {
        let segment = Segment {
            address,
            total_size: size,
            kind: if flags[0] {
                SegmentKind::Small
            } else {
                SegmentKind::Large
            },
            is_expandable: flags[1],
            ..Segment::default()
        };
        let blocks = blocks
            .into_iter()
            .map(|(address, size, requested, state)| Block {
                address,
                size,
                requested_size: requested,
                state: match state {
                    0 => BlockState::Allocated,
                    1 => BlockState::PendingFree,
                    _ => BlockState::Inactive,
                },
                ..Block::default()
            });
        (segment, blocks.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_panics(
        events in prop::collection::vec(event(), 1..60),
        segments in prop::collection::vec(segment(), 0..5),
        conf in prop::sample::select(vec![
            "", "expandable_segments:True", "max_split_size_mb:20",
            "garbage_collection_threshold:0.5", "roundup_power2_divisions:4",
        ]),
        capacity in number(),
        has_pools in any::<bool>(),
        is_recorded in any::<bool>(),
    ) {
        let mut snapshot = Snapshot::default();
        let mut trace = Trace { device: DeviceId(0), ..Trace::default() };
        if has_pools {
            trace.events.set_has_pools();
        }
        for event in &events {
            trace.events.push(event);
        }
        snapshot.traces.push(trace);
        for (segment, blocks) in &segments {
            snapshot.segments.push(segment.clone(), blocks);
        }
        if is_recorded {
            snapshot.settings = Some(AllocatorSettings {
                expandable_segments: Some(conf.contains("expandable")),
                ..AllocatorSettings::default()
            });
        }
        let fidelity = replay_recorded(&snapshot, DeviceId(0));
        prop_assert!(fidelity.placed <= fidelity.allocations);
        prop_assert!(fidelity.segment_events_matched <= fidelity.segment_events);
        prop_assert!((0.0..=1.0).contains(&fidelity.share()));
        for capacity in [Capacity::Recorded, Capacity::Unlimited, Capacity::Bytes(capacity)] {
            let what_if = WhatIf {
                conf: Some(conf.to_owned()),
                capacity,
                memory_fraction: Some(0.5),
                with_curves: true,
                with_maps: true,
                ..WhatIf::default()
            };
            simulate(&snapshot, &what_if, &mut |_, _| ControlFlow::Continue(())).unwrap();
        }
        let options = AdviseOptions { threads: Some(1), ..AdviseOptions::default() };
        advise(&snapshot, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    }
}
