//! The page's stacks: the kept allocations' frames as one tree.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::snapshot::{FrameId, StackId};

use super::columns::exact;
use super::labels::Labels;
use super::text::Texts;

/// Frames and stacks as the page has them, in columns.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct StackColumns {
    /// Text rows of function names, by frame.
    name: Vec<u32>,
    /// Text rows of file paths, by frame; 0 for native code.
    file: Vec<u32>,
    /// Line numbers, by frame; 0 where there is none.
    line: Vec<u64>,
    /// One letter per frame: `p` project, `l` library, `n` native.
    kind: String,
    /// Node rows of callers, by node; node 0 is the empty stack.
    caller: Vec<u32>,
    /// Frame rows, by node.
    frame: Vec<u32>,
}

/// Collects stacks.
pub(super) struct StackTree {
    columns: StackColumns,
    frames: HashMap<FrameId, u32, FixedState>,
    nodes: HashMap<(u32, u32), u32, FixedState>,
    stacks: HashMap<StackId, u32, FixedState>,
    max_nodes: usize,
    /// Stacks of which only the outer frames are kept.
    cut: u64,
}

impl StackTree {
    pub(super) fn new(max_nodes: usize) -> Self {
        let mut tree = Self {
            columns: StackColumns::default(),
            frames: HashMap::default(),
            nodes: HashMap::default(),
            stacks: HashMap::default(),
            max_nodes,
            cut: 0,
        };
        tree.columns.caller.push(0);
        tree.columns.frame.push(0);
        tree
    }

    /// The node of `stack`.
    pub(super) fn stack(
        &mut self,
        labels: &Labels<'_>,
        texts: &mut Texts<'_>,
        stack: StackId,
    ) -> u32 {
        if let Some(&node) = self.stacks.get(&stack) {
            return node;
        }
        let mut node = 0;
        for &frame in labels.frames(stack).iter().rev() {
            let frame = self.frame(labels, texts, frame);
            if let Some(&known) = self.nodes.get(&(node, frame)) {
                node = known;
                continue;
            }
            if self.nodes.len() >= self.max_nodes {
                self.cut += 1;
                break;
            }
            let next = self.columns.caller.len() as u32;
            self.columns.caller.push(node);
            self.columns.frame.push(frame);
            self.nodes.insert((node, frame), next);
            node = next;
        }
        self.stacks.insert(stack, node);
        node
    }

    /// How many stacks lost their inner frames to the limit.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    pub(super) fn into_columns(self) -> StackColumns {
        self.columns
    }

    fn frame(&mut self, labels: &Labels<'_>, texts: &mut Texts<'_>, id: FrameId) -> u32 {
        if let Some(&row) = self.frames.get(&id) {
            return row;
        }
        let (function, file) = labels.frame(id);
        let row = self.columns.name.len() as u32;
        self.columns.name.push(texts.text(&function));
        self.columns
            .file
            .push(file.map_or(0, |file| texts.path(file)));
        let line = file.map_or(0, |_| labels.snapshot.frames.get(id).line);
        self.columns.line.push(exact(line));
        self.columns.kind.push(labels.frame_kind(id));
        self.frames.insert(id, row);
        row
    }
}
