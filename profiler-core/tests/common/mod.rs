//! What the tests that read real files share.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its files has failed"
)]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

pub mod both;
pub mod encode;
pub mod naive;
pub mod pipeline;
pub mod tree;

use std::path::{Path, PathBuf};

use profiler_core::snapshot::{Event, Snapshot, StackId};

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

/// Every snapshot of `folder`, in order of name.
pub fn snapshot_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "pickle")
    });
    files.sort();
    assert!(!files.is_empty(), "no snapshots in {}", folder.display());
    files
}

/// `bytes` as an xz file.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let options = lzma_rust2::XzOptions::with_preset(6);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The last part of a path.
pub fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

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

/// Fails at the first thing a snapshot says otherwise than its tree.
pub fn assert_tells(snapshot: &Snapshot, tree: &tree::Tree, name: &str) {
    let (found, expected) = (contents(snapshot), naive::contents(tree));
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{name} at {row}");
    }
    assert_eq!(found.get(expected.len()..), Some(&[][..]), "{name}");
}

/// Fails at the first thing two snapshots say differently.
pub fn assert_same(one: &Snapshot, other: &Snapshot) {
    let (one, other) = (contents(one), contents(other));
    for (row, (left, right)) in one.iter().zip(&other).enumerate() {
        assert_eq!(left, right, "at {row}");
    }
    assert_eq!(one.len(), other.len());
}

/// Compares every pickle of a folder, value by value, with what a plain unpickler makes of it.
pub fn compare_folder(folder: &Path, count: usize) {
    let mut met = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "pickle")
        {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let snapshot = profiler_core::read::read(&bytes).unwrap();
        let tree = naive::unpickle(&bytes);
        assert_tells(&snapshot, &tree, &path.display().to_string());
        met += 1;
    }
    assert_eq!(met, count);
}
