//! Every distinct stack frame of a snapshot, stored once.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher as _;

use super::{FrameId, StringId};

/// One frame of a call stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function name; for C++ the demangled symbol, `??` when it could not be symbolised.
    pub name: StringId,
    /// Source file; `??` or the shared object's path for C++ frames of release wheels.
    pub filename: StringId,
    /// Line number; for unsymbolised C++ frames an offset into the shared object, so it can be
    /// far above any source line.
    pub line: u64,
    /// What torch.fx knew of this frame's graph node, 0 when nothing (see [`FxNode`]).
    pub fx: u32,
}

/// The torch.fx node behind a frame of generated code (`augment_with_fx_traces`, PyTorch 2.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FxNode {
    /// `fx_node_op`, for example `call_function`.
    pub op: StringId,
    /// `fx_node_name`, for example `addmm_3`.
    pub name: StringId,
    /// `fx_node_target`, for example `aten.addmm.default`.
    pub target: StringId,
    /// `fx_original_trace`: the user's source lines the node came from.
    pub original_trace: StringId,
}

/// Interned frames.
#[derive(Clone, Debug, Default)]
pub struct FrameTable {
    frames: Vec<Frame>,
    lookup: HashTable<FrameId>,
    fx_nodes: Vec<FxNode>,
    fx_lookup: HashMap<FxNode, u32, FixedState>,
    hasher: FixedState,
}

impl FrameTable {
    /// The handle of `frame`, adding it if it is new.
    ///
    /// Past `u32::MAX` distinct frames the last handle is returned again.
    pub fn intern(&mut self, frame: Frame) -> FrameId {
        let hash = self.hasher.hash_one(frame);
        let found = self
            .lookup
            .find(hash, |id| self.frames.get(id.index()) == Some(&frame));
        if let Some(&id) = found {
            return id;
        }
        let Ok(row) = u32::try_from(self.frames.len()) else {
            return FrameId(u32::MAX);
        };
        let id = FrameId(row);
        self.frames.push(frame);
        let (hasher, frames) = (&self.hasher, &self.frames);
        self.lookup
            .insert_unique(hash, id, |id| hasher.hash_one(frames[id.index()]));
        id
    }

    /// The number to store in [`Frame::fx`] for `node`; 0 for the empty node.
    pub fn intern_fx(&mut self, node: FxNode) -> u32 {
        if node == FxNode::default() {
            return 0;
        }
        if let Some(&number) = self.fx_lookup.get(&node) {
            return number;
        }
        let Ok(number) = u32::try_from(self.fx_nodes.len() + 1) else {
            return 0;
        };
        self.fx_nodes.push(node);
        self.fx_lookup.insert(node, number);
        number
    }

    /// The frame of `id`; the empty frame for a handle of another table.
    #[must_use]
    pub fn get(&self, id: FrameId) -> Frame {
        self.frames.get(id.index()).copied().unwrap_or_default()
    }

    /// What torch.fx knew of `frame`, if anything.
    #[must_use]
    pub fn fx(&self, frame: Frame) -> Option<FxNode> {
        let row = usize::try_from(frame.fx.checked_sub(1)?).ok()?;
        self.fx_nodes.get(row).copied()
    }

    /// How many distinct frames there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Every handle with its frame, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (FrameId, Frame)> + '_ {
        self.frames
            .iter()
            .enumerate()
            .map(|(row, &frame)| (FrameId(row as u32), frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_frames_share_a_handle() {
        let mut table = FrameTable::default();
        let frame = Frame {
            name: StringId(1),
            filename: StringId(2),
            line: 7,
            fx: 0,
        };
        let id = table.intern(frame);
        assert_eq!(table.intern(frame), id);
        assert_ne!(table.intern(Frame { line: 8, ..frame }), id);
        assert_eq!(table.get(id), frame);
        assert_eq!(table.get(FrameId(99)), Frame::default());
    }

    #[test]
    fn fx_nodes_are_interned_from_one() {
        let mut table = FrameTable::default();
        assert_eq!(table.intern_fx(FxNode::default()), 0);
        let node = FxNode {
            op: StringId(4),
            ..FxNode::default()
        };
        assert_eq!(table.intern_fx(node), 1);
        assert_eq!(table.intern_fx(node), 1);
        assert_eq!(
            table.fx(Frame {
                fx: 1,
                ..Frame::default()
            }),
            Some(node)
        );
        assert_eq!(table.fx(Frame::default()), None);
    }
}
