//! What the page says of each allocation: its stack as people read it, its layer, its category.

use crate::replay::{AllocationId, DeviceReplay};
use crate::snapshot::{FrameId, Snapshot, StackId};

/// How a label is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Known {
    /// The file says so.
    Recorded,
    /// Worked out from stacks, phases and lifetimes.
    Inferred,
    /// Could not be told.
    #[default]
    Unknown,
}

/// Category and layer of one allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Label {
    /// Row of [`CATEGORIES`].
    pub(super) category: u8,
    pub(super) category_known: Known,
    /// Row of the layers, 0 for unknown.
    pub(super) layer: u32,
    pub(super) layer_known: Known,
}

/// The names of the categories, the last one being "could not be told".
pub(super) const CATEGORIES: [&str; 8] =
    ["parameter", "gradient", "optimizer state", "activation", "input", "temporary", "workspace", "unknown"];

/// Looks up labels and stacks.
pub(super) struct Labels<'a> {
    snapshot: &'a Snapshot,
}

impl<'a> Labels<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot }
    }

    pub(super) fn of(&self, _device: &DeviceReplay, _id: AllocationId) -> Label {
        Label { category: CATEGORIES.len() as u8 - 1, ..Label::default() }
    }

    /// The frames of `stack` worth reading, innermost first.
    pub(super) fn frames(&self, stack: StackId) -> Vec<FrameId> {
        self.snapshot.stacks.frames(stack).collect()
    }

    /// `p` for the project's own code, `l` for a library's, `n` for native code.
    pub(super) fn frame_kind(&self, frame: FrameId) -> char {
        let frame = self.snapshot.frames.get(frame);
        let file = self.snapshot.strings.get(frame.filename);
        if !file.ends_with(".py") {
            'n'
        } else if file.contains("site-packages") || file.contains("dist-packages") || file.contains("/lib/python") {
            'l'
        } else {
            'p'
        }
    }

    /// Every layer: its parent's row and its name. Row 0 is "unknown" and its own parent.
    pub(super) fn layers(&self) -> Vec<(u32, String)> {
        vec![(0, String::new())]
    }
}
