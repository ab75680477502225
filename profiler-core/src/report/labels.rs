//! What the page says of each allocation: its stack as people read it, its layer, its category.

use crate::attribution::{
    Attribution, Category, DeviceAttribution, Evidence, FrameOrigin, LayerId, function_label,
};
use crate::replay::AllocationId;
use crate::snapshot::{FrameId, Snapshot, StackId};

/// Category and layer of one allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Label {
    pub(super) category: Category,
    pub(super) category_known: Evidence,
    pub(super) layer: LayerId,
    pub(super) layer_known: Evidence,
}

/// Looks up labels and stacks of one snapshot.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) attribution: &'a Attribution,
}

impl Labels<'_> {
    pub(super) fn of(&self, device: Option<&DeviceAttribution>, id: AllocationId) -> Label {
        let (category, category_known) = device.map_or_else(Default::default, |d| d.category(id));
        let (layer, layer_known) = device.map_or_else(Default::default, |d| d.layer(id));
        Label {
            category,
            category_known,
            layer,
            layer_known,
        }
    }

    /// The frames of `stack` worth reading, innermost first.
    pub(super) fn frames(&self, stack: StackId) -> Vec<FrameId> {
        let clean = &self.attribution.clean;
        clean.clean_frames(clean.of(stack)).collect()
    }

    /// The function, and the file where it is one people can open.
    pub(super) fn frame(&self, id: FrameId) -> (String, Option<&str>) {
        let frame = self.snapshot.frames.get(id);
        let is_native = self.attribution.clean.origin_of(id) == FrameOrigin::Native;
        let file = (!is_native).then(|| self.snapshot.strings.get(frame.filename));
        (function_label(self.snapshot, id), file)
    }

    /// `p` for the project's own code, `l` for a library's, `n` for native code.
    pub(super) fn frame_kind(&self, frame: FrameId) -> char {
        match self.attribution.clean.origin_of(frame) {
            FrameOrigin::Project => 'p',
            FrameOrigin::Library => 'l',
            FrameOrigin::Native => 'n',
        }
    }
}

/// One letter for how a thing is known: `r` recorded, `i` inferred, `u` could not be told.
pub(super) fn evidence_letter(evidence: Evidence) -> char {
    match evidence {
        Evidence::Recorded => 'r',
        Evidence::Inferred => 'i',
        Evidence::Unknown => 'u',
    }
}

/// The category's place in [`Category::ALL`].
pub(super) fn category_row(category: Category) -> u32 {
    let found = Category::ALL.iter().position(|known| *known == category);
    found.unwrap_or(Category::ALL.len() - 1) as u32
}
