//! What the tests that read real files share.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::PathBuf;

/// The folder of reference snapshots, if this machine has it: `GPUMEMPROF_SHARED`, or `../shared`
/// beside the repository.
pub fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("GPUMEMPROF_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    let snapshots = folder.join("snapshots");
    if snapshots.is_dir() {
        return Some(snapshots);
    }
    println!("skipped: no reference snapshots at {}", folder.display());
    None
}

use profiler_core::snapshot::{Event, Snapshot, StackId};

/// A stack's frames as text, innermost first.
pub fn stack_text(snapshot: &Snapshot, stack: StackId) -> Vec<String> {
    snapshot
        .stacks
        .frames(stack)
        .map(|id| {
            let frame = snapshot.frames.get(id);
            let text = |id| snapshot.strings.get(id);
            let fx = snapshot.frames.fx(frame).map(|fx| {
                [fx.op, fx.name, fx.target, fx.original_trace].map(|id| text(id).to_owned())
            });
            format!(
                "{} {}:{} {fx:?}",
                text(frame.name),
                text(frame.filename),
                frame.line
            )
        })
        .collect()
}

/// All a snapshot says, in words that do not depend on handles.
pub fn contents(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |id| snapshot.strings.get(id);
    let mut stacks = std::collections::HashMap::new();
    let mut stack = |id: StackId| {
        stacks
            .entry(id)
            .or_insert_with(|| stack_text(snapshot, id).join("; "))
            .clone()
    };
    for trace in &snapshot.traces {
        lines.push(format!(
            "trace of {} with {} events, pools {}",
            trace.device,
            trace.events.len(),
            trace.events.has_pools()
        ));
        for row in 0..trace.events.len() {
            let Event {
                action: _,
                address,
                size,
                stream,
                time_us,
                stack: stack_id,
                pool,
                user_metadata,
                compile_context,
                internal_metadata,
                forward_frames,
                category,
            } = trace.events.get(row);
            lines.push(format!(
                "{} {address:x} {size} {} {time_us} {:?} {:?} [{}]",
                trace.events.action_name(row, &snapshot.strings),
                snapshot.streams.pointer(stream),
                snapshot.pools.id(pool),
                [
                    user_metadata,
                    compile_context,
                    internal_metadata,
                    forward_frames,
                    category
                ]
                .map(text),
                stack(stack_id)
            ));
        }
    }
    for segment in snapshot.segments.all() {
        lines.push(format!(
            "segment {} {:x} {} {:?} {:?} {:?} {} {:?} {:?} {} [{}]",
            segment.device,
            segment.address,
            segment.total_size,
            segment.allocated_size,
            segment.active_size,
            segment.requested_size,
            snapshot.streams.pointer(segment.stream),
            segment.kind,
            snapshot.pools.id(segment.pool),
            segment.is_expandable,
            stack(segment.stack)
        ));
        for block in snapshot.segments.blocks(segment) {
            lines.push(format!(
                "block {:x} {} {} {:?} [{}]",
                block.address,
                block.size,
                block.requested_size,
                block.state,
                stack(block.stack)
            ));
        }
    }
    for annotation in &snapshot.annotations {
        lines.push(format!(
            "annotation {} {:?} {} {}",
            text(annotation.name),
            annotation.stage,
            annotation.device,
            annotation.time_us
        ));
    }
    lines.push(format!("{:?}", snapshot.settings));
    lines.push(format!("{:?}", snapshot.features));
    let warnings = snapshot.warnings.all().iter();
    lines.extend(warnings.map(|warning| format!("{warning:?}")));
    lines
}

/// Fails at the first thing two snapshots say differently.
pub fn assert_same(one: &Snapshot, other: &Snapshot) {
    let (one, other) = (contents(one), contents(other));
    for (row, (left, right)) in one.iter().zip(&other).enumerate() {
        assert_eq!(left, right, "at {row}");
    }
    assert_eq!(one.len(), other.len());
}
