//! Every distinct call stack of a snapshot, as a tree of parent pointers.
//!
//! ```text
//!   main ── train ── forward ── linear      StackId(4): linear ← forward ← train ← main
//!                └── backward               StackId(5): backward ← train ← main
//! ```
//!
//! PyTorch writes a list of frames per allocation, innermost first, and two allocations from the
//! same line are two separate lists. Stored by content they are some fifty times fewer (measured
//! on the public snapshots: 0.02 distinct stacks per event).

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use super::{FrameId, StackId};

/// A node of the tree: one frame and the stack of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackNode {
    /// The stack without this frame: who called.
    pub caller: StackId,
    /// The innermost frame of this stack.
    pub frame: FrameId,
    /// How many frames the stack has.
    pub depth: u32,
}

/// Interned stacks.
#[derive(Clone, Debug, Default)]
pub struct StackTable {
    /// Node of `StackId(n)` at `n − 1`; the empty stack has none.
    nodes: Vec<StackNode>,
    lookup: HashTable<StackId>,
    hasher: FixedState,
}

impl StackTable {
    /// The stack made of `frame` called from `caller`.
    ///
    /// Past `u32::MAX` nodes `caller` itself is returned.
    pub fn push(&mut self, caller: StackId, frame: FrameId) -> StackId {
        let hash = self.hasher.hash_one((caller, frame));
        let nodes = &self.nodes;
        let same = |id: &StackId| {
            let node = nodes.get(id.index().wrapping_sub(1));
            node.is_some_and(|node| node.caller == caller && node.frame == frame)
        };
        if let Some(&id) = self.lookup.find(hash, same) {
            return id;
        }
        let Ok(row) = u32::try_from(self.nodes.len() + 1) else {
            return caller;
        };
        let depth = self.depth(caller).saturating_add(1);
        self.nodes.push(StackNode {
            caller,
            frame,
            depth,
        });
        let id = StackId(row);
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.lookup.insert_unique(hash, id, |id| {
            let node = nodes[id.index() - 1];
            hasher.hash_one((node.caller, node.frame))
        });
        id
    }

    /// The stack of `frames`, innermost first as PyTorch writes them.
    pub fn intern(&mut self, frames: &[FrameId]) -> StackId {
        frames
            .iter()
            .rev()
            .fold(StackId::EMPTY, |caller, &frame| self.push(caller, frame))
    }

    /// The node of `id`: its innermost frame and its caller. None for the empty stack.
    #[must_use]
    pub fn node(&self, id: StackId) -> Option<StackNode> {
        self.nodes.get(id.index().checked_sub(1)?).copied()
    }

    /// How many frames the stack has.
    #[must_use]
    pub fn depth(&self, id: StackId) -> u32 {
        self.node(id).map_or(0, |node| node.depth)
    }

    /// The frames of the stack, innermost first.
    pub fn frames(&self, id: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let mut at = id;
        std::iter::from_fn(move || {
            let node = self.node(at)?;
            at = node.caller;
            Some(node.frame)
        })
    }

    /// How many distinct stacks there are, callers' stacks and the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Whether only the empty stack is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_share_their_callers() {
        let mut table = StackTable::default();
        let (main, train, forward, backward) = (FrameId(0), FrameId(1), FrameId(2), FrameId(3));
        let a = table.intern(&[forward, train, main]);
        let b = table.intern(&[backward, train, main]);
        assert_eq!(table.intern(&[forward, train, main]), a);
        assert_eq!(table.len(), 5, "empty, main, train, forward, backward");
        assert_eq!(table.frames(b).collect::<Vec<_>>(), [backward, train, main]);
        assert_eq!(table.depth(a), 3);
        assert_eq!(table.frames(StackId::EMPTY).count(), 0);
        assert_eq!(table.frames(StackId(77)).count(), 0);
    }
}
