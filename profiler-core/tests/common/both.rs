//! Reading with and without reading ahead.

use profiler_core::read::{ReadError, ReadOptions, read, read_bytes};
use profiler_core::snapshot::{FrameId, Snapshot, StackId};
use std::ops::ControlFlow;

/// Reads `bytes` both ways, and fails if the results differ in anything.
pub fn read_both_ways(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    let mut steps = ReadOptions::default();
    steps.read_ahead = false;
    let by_steps = read_bytes(bytes, &steps, &mut |_| ControlFlow::Continue(()));
    let ahead = read(bytes);
    match (&ahead, &by_steps) {
        (Ok(ahead), Ok(by_steps)) => assert_identical(ahead, by_steps),
        (Err(ahead), Err(by_steps)) => assert_eq!(format!("{ahead:?}"), format!("{by_steps:?}")),
        (Ok(_), Err(error)) => panic!("read ahead, but by steps: {error}"),
        (Err(error), Ok(_)) => panic!("read by steps, but ahead: {error}"),
    }
    ahead
}

/// Fails if two snapshots differ in anything, handles included.
pub fn assert_identical(one: &Snapshot, other: &Snapshot) {
    assert!(one.strings.iter().eq(other.strings.iter()), "strings");
    assert!(one.frames.iter().eq(other.frames.iter()), "frames");
    for (_, frame) in one.frames.iter() {
        assert_eq!(one.frames.fx(frame), other.frames.fx(frame));
    }
    assert_eq!(one.frames.get(FrameId(0)), other.frames.get(FrameId(0)));
    assert_eq!(one.stacks.len(), other.stacks.len());
    for row in 0..one.stacks.len() {
        let id = StackId(row as u32);
        assert_eq!(one.stacks.node(id), other.stacks.node(id));
    }
    assert_eq!(
        format!("{:?} {:?}", one.streams, one.pools),
        format!("{:?} {:?}", other.streams, other.pools)
    );
    assert_eq!(one.traces.len(), other.traces.len());
    for (left, right) in one.traces.iter().zip(&other.traces) {
        assert_eq!(left.device, right.device);
        let (left, right) = (&left.events, &right.events);
        assert_eq!(left.len(), right.len());
        assert_eq!(left.has_pools(), right.has_pools());
        for row in 0..left.len() {
            assert_eq!(left.get(row), right.get(row), "event {row}");
            assert_eq!(
                left.action_name(row, &one.strings),
                right.action_name(row, &other.strings)
            );
        }
    }
    assert_eq!(one.segments.all(), other.segments.all());
    for segment in one.segments.all() {
        assert_eq!(one.segments.blocks(segment), other.segments.blocks(segment));
    }
    assert_eq!(one.annotations, other.annotations);
    assert_eq!(one.settings, other.settings);
    assert_eq!(one.features, other.features);
    assert_eq!(one.warnings.all(), other.warnings.all());
    assert_eq!(one.warnings.dropped(), other.warnings.dropped());
}
