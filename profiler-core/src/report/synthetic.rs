//! Made-up recordings for the report's tests.

use super::{ReportInput, ReportOptions, html};
use crate::attribution::Attribution;
use crate::replay::Replay;
use crate::snapshot::{
    Action, Block, BlockState, DeviceId, Event, Frame, Segment, Snapshot, StackId, Trace,
};

/// One block's room in the only segment.
const SLOT: u64 = 4 << 20;
const BASE: u64 = 0x7f00_0000_0000;

/// A recording of `events` allocs and frees of many sizes, from `stacks` different stacks, with
/// whatever is live at the end in the final state. The same arguments give the same recording.
pub(crate) fn recording(events: u32, slots: usize, stacks: u32) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let stacks: Vec<StackId> = (0..stacks).map(|n| stack(&mut snapshot, n)).collect();
    let mut trace = Trace {
        device: DeviceId(0),
        ..Trace::default()
    };
    let mut live: Vec<Option<(u64, StackId)>> = vec![None; slots];
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut time_us = 1_700_000_000_000_000;
    for _ in 0..events {
        let slot = random() as usize % slots;
        time_us += 1 + (random() % 40) as i64;
        let address = BASE + slot as u64 * SLOT;
        let event = match live[slot].take() {
            Some((size, stack)) => Event {
                action: Action::FreeCompleted,
                size,
                stack,
                ..Event::default()
            },
            None => {
                let size = 1 + random() % SLOT;
                let stack = stacks
                    .get(random() as usize % stacks.len().max(1))
                    .copied()
                    .unwrap_or_default();
                live[slot] = Some((size, stack));
                Event {
                    action: Action::Alloc,
                    size,
                    stack,
                    ..Event::default()
                }
            }
        };
        trace.events.push(&Event {
            address,
            time_us,
            ..event
        });
    }
    snapshot.traces.push(trace);
    let blocks: Vec<Block> = live
        .iter()
        .enumerate()
        .map(|(slot, owner)| Block {
            address: BASE + slot as u64 * SLOT,
            size: SLOT,
            requested_size: owner.map_or(SLOT, |(size, _)| size),
            state: if owner.is_some() {
                BlockState::Allocated
            } else {
                BlockState::Inactive
            },
            stack: owner.map_or(StackId::EMPTY, |(_, stack)| stack),
        })
        .collect();
    let segment = Segment {
        address: BASE,
        total_size: slots as u64 * SLOT,
        ..Segment::default()
    };
    snapshot.segments.push(segment, &blocks);
    snapshot
}

fn stack(snapshot: &mut Snapshot, n: u32) -> StackId {
    let mut frame = |name: &str, file: &str, line: u64| {
        let name = snapshot.strings.intern(name);
        let filename = snapshot.strings.intern(file);
        snapshot.frames.intern(Frame {
            name,
            filename,
            line,
            fx: 0,
        })
    };
    let frames = [
        frame(
            &format!("layer_{n}"),
            "/home/alice/secret/model.py",
            u64::from(n),
        ),
        frame("forward", "/home/alice/secret/model.py", 7),
        frame("<module>", "/home/alice/secret/train.py", 1),
    ];
    snapshot.stacks.intern(&frames)
}

/// The page of a snapshot, without a device's memory being given.
pub(crate) fn page(snapshot: &Snapshot, options: &ReportOptions) -> String {
    let replay = Replay::new(snapshot);
    let attribution = Attribution::new(snapshot, &replay);
    let input = ReportInput {
        snapshot,
        replay: &replay,
        attribution: &attribution,
        device_total_bytes: None,
    };
    html(&input, options)
}
