//! Frames in words: `linear (torch/nn/functional.py:125)`, `aten::bmm`, `BmmBackward0`.

use crate::snapshot::{FrameId, Snapshot};

use super::frame_class::{is_library_path, is_python_file};
use super::native_name::short_native_name;

/// A frame's function as shown: `linear`, `aten::bmm`, `BmmBackward0`.
#[must_use]
pub fn function_label(snapshot: &Snapshot, frame: FrameId) -> String {
    let frame = snapshot.frames.get(frame);
    let name = snapshot.strings.get(frame.name);
    if is_python_file(&snapshot.strings.get(frame.filename).replace('\\', "/")) {
        return name.to_owned();
    }
    let short = short_native_name(name);
    if let Some(op) = short
        .strip_prefix("at::_ops::")
        .and_then(|op| op.strip_suffix("::call"))
    {
        return format!("aten::{op}");
    }
    if let Some(node) = short
        .strip_prefix("torch::autograd::generated::")
        .and_then(|node| node.strip_suffix("::apply"))
    {
        return node.to_owned();
    }
    if short == "torch::autograd::Engine::thread_main" {
        return "autograd engine".to_owned();
    }
    short
}

/// A frame as shown: `linear (torch/nn/functional.py:125)`, `aten::bmm`.
#[must_use]
pub fn frame_label(snapshot: &Snapshot, id: FrameId) -> String {
    let function = function_label(snapshot, id);
    match file_label(snapshot, id) {
        Some(file) => format!("{function} ({file}:{})", snapshot.frames.get(id).line),
        None => function,
    }
}

/// A Python frame's file as shown, none for C++ frames: from the package down for installed
/// code, folder and file for the program's own.
#[must_use]
pub fn file_label(snapshot: &Snapshot, id: FrameId) -> Option<String> {
    let path = snapshot
        .strings
        .get(snapshot.frames.get(id).filename)
        .replace('\\', "/");
    is_python_file(&path).then(|| short_path(&path))
}

fn short_path(path: &str) -> String {
    for root in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, inside)) = path.rsplit_once(root) {
            return inside.to_owned();
        }
    }
    if is_library_path(path)
        && let Some((_, inside)) = path.split_once("/lib/")
    {
        return match inside.split_once('/') {
            Some((version, rest)) if version.starts_with("python3") => rest.to_owned(),
            _ => inside.to_owned(),
        };
    }
    let start = path
        .match_indices('/')
        .rev()
        .nth(1)
        .map_or(0, |(at, _)| at + 1);
    path.get(start..).unwrap_or(path).to_owned()
}
