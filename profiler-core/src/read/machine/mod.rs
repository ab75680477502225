//! The machine both readers drive: a stack of values that turns finished dicts into rows.
//!
//! A pickle is a program for a stack machine, and JSON is easily written as one. Here the stack
//! holds small handles: as soon as a dict is finished it is told by its keys what it is (a trace
//! entry, a frame, a block, …), its row goes to the columns, and only the row's handle stays. So
//! there is never a tree of objects, and a list of ten million entries is two numbers.
//!
//! ```text
//!   bytes ──▶ [ list of events 0..812 | MARK | "action" "alloc" "frames" Stack(17) ]
//!                                                                 │ SETITEMS, then the next dict
//!                                                                 ▼
//!                                                     row 812 of the trace's columns
//! ```
//!
//! A dict or list is *open* from its opcode until something needs its value: its parent, or a
//! reference to it. To change one after that is how a cyclic structure is made, and is refused.

mod copies;
mod dict;
mod event;
mod fault;
mod finish;
mod list;
mod memo;
mod node;
mod notes;
mod numbers;
mod open;
mod reference;
mod rows;
mod stack;
mod tuple;
mod value;
mod words;

use crate::snapshot::{
    Annotation, Block, Events, FormatFeatures, FrameId, FrameTable, PoolId, Segment, StackId,
    StackTable, StreamId, StreamTable, StringId, StringTable, Warnings,
};
use hashbrown::{HashMap, HashSet};

pub(crate) use fault::{Fault, Problem};
use list::Content;
use memo::Memo;
use node::Nodes;
use notes::Notes;
pub(crate) use value::Value;
pub(crate) use words::Word;

/// The most containers open at once and the most values on the stack or aside. A pickle written
/// by PyTorch's C++ pickler puts all blocks of a segment list on the stack before it closes the
/// list, so the cap is far above any real segment's block count; it keeps a hostile file from
/// turning each of its bytes into tens of bytes of memory without end.
const MAX_VALUES: usize = 1 << 26;

/// An open dict or list.
#[derive(Clone, Copy, Debug)]
struct Open {
    content: Content,
    /// Where its part of the shared scratch begins; it ends where the next open one's begins.
    pairs: u32,
    values: u32,
    frames: u32,
    /// The memo id it was stored under last, or [`NO_ID`].
    memo_id: u32,
    /// Which known keys a dict has.
    keys: u64,
}

const NO_ID: u32 = u32::MAX;

/// Where a value is about to stand, which decides what a dict may be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An item of a list: any kind of row.
    Item,
    /// A dict's value, or the top level: only a whole snapshot is told apart.
    Value,
    /// Under a key whose value the snapshot keeps as text.
    Opaque,
    /// Under `forward_frames`: a list of strings becomes one.
    Lines,
}

/// A block with what its segment needs to know of it.
#[derive(Clone, Copy, Debug)]
struct RawBlock {
    block: Block,
    has_address: bool,
}

/// The first thing a block's history says.
#[derive(Clone, Copy, Debug)]
struct RawHistory {
    real_size: Option<u64>,
    stack: StackId,
}

/// The values under a snapshot's keys.
#[derive(Clone, Copy, Debug)]
struct RawSnapshot {
    segments: Value,
    device_traces: Value,
    settings: Value,
    annotations: Value,
    host_segments: Value,
    host_traces: Value,
}

/// Bytes of the shortest trace entry that room is made for. Those of real pickles take some 100;
/// a file of much shorter ones may be made to have memory set aside that it never fills.
const LEAST_ENTRY: usize = 64;

/// The stack machine and the rows it has made.
pub(crate) struct Machine {
    stack: Vec<Value>,
    opens: Vec<Open>,
    /// Memo ids of open containers that were stored more than once, by slot.
    aliases: Vec<(u32, u32)>,
    pairs: Vec<(StringId, Value)>,
    values: Vec<Value>,
    frame_ids: Vec<FrameId>,
    pub(crate) memo: Memo,
    max_depth: u32,
    /// How many rows may still be copied because the file refers to them again.
    copies_left: u64,
    /// How many bytes of JSON text may still be made of shared containers.
    text_left: u64,

    pub(crate) strings: StringTable,
    frames: FrameTable,
    stacks: StackTable,
    streams: StreamTable,
    last_text: StringId,
    last_stream: (i64, StreamId),
    number_pairs: Vec<(u64, u64)>,
    last_pair: ((u64, u64), u32),
    number_pair_ids: HashMap<(u64, u64), u32, foldhash::fast::FixedState>,
    pools: crate::snapshot::PoolTable,
    last_pool: (u32, PoolId),
    traces: Vec<Events>,
    /// When room was made last: how many traces there were, and how long the last one.
    list_before: (usize, usize),
    /// The trace that new entries go to.
    staging: Option<u32>,
    blocks: Vec<RawBlock>,
    histories: Vec<RawHistory>,
    segments: Vec<Segment>,
    annotations: Vec<Annotation>,
    snapshots: Vec<RawSnapshot>,
    segments_without_device: Vec<u32>,
    event_keys: u64,
    block_keys: u64,
    segment_keys: u64,
    /// Traces that are a device's already.
    taken: HashSet<u32, foldhash::fast::FixedState>,
    nodes: Nodes,
    features: FormatFeatures,
    notes: Notes,
    pub(crate) warnings: Warnings,
}

impl Machine {
    /// The lists of trace entries so far. Rows are only ever added at the end of one.
    pub(crate) fn lists(&self) -> &[Events] {
        &self.traces
    }

    /// Makes room in the list of trace entries that is being read, going by how many came since
    /// the last call, which was `step` bytes earlier; `left` bytes of the file are to come.
    pub(crate) fn make_room(&mut self, step: usize, left: usize) {
        let last = self.traces.len();
        let Some(list) = self.traces.last_mut() else {
            return;
        };
        let before = std::mem::replace(&mut self.list_before, (last, list.len()));
        if before.0 != last {
            // Another list has begun; what was kept for the one before is free for it.
            if let Some(done) = before.0.checked_sub(1) {
                self.traces.get_mut(done).map(Events::shrink_to_fit);
            }
            return;
        }
        let came = list.len() - before.1.min(list.len());
        if list.room() > came * 2 {
            return;
        }
        let came = came.min(step / LEAST_ENTRY);
        let more = left as u64 * came as u64 / step.max(1) as u64;
        // What is too much is never touched, and given back at the end.
        list.expect((more + more / 16) as usize);
    }

    /// A machine for a file of `file_size` bytes.
    pub(crate) fn new(file_size: usize, max_depth: u32) -> Self {
        Self {
            stack: Vec::new(),
            opens: Vec::new(),
            aliases: Vec::new(),
            pairs: Vec::new(),
            values: Vec::new(),
            frame_ids: Vec::new(),
            memo: Memo::default(),
            max_depth,
            copies_left: (file_size as u64).saturating_add(1 << 20),
            text_left: (file_size as u64)
                .saturating_mul(16)
                .saturating_add(64 << 20),
            strings: Word::table(),
            frames: FrameTable::default(),
            stacks: StackTable::default(),
            streams: StreamTable::default(),
            last_text: StringId::EMPTY,
            last_stream: (0, StreamId::DEFAULT),
            number_pairs: vec![(0, 0)],
            last_pair: ((0, 0), 0),
            number_pair_ids: std::iter::once(((0, 0), 0)).collect(),
            pools: crate::snapshot::PoolTable::default(),
            last_pool: (u32::MAX, PoolId::DEFAULT),
            traces: Vec::new(),
            list_before: (0, 0),
            staging: None,
            blocks: Vec::new(),
            histories: Vec::new(),
            segments: Vec::new(),
            annotations: Vec::new(),
            snapshots: Vec::new(),
            segments_without_device: Vec::new(),
            event_keys: 0,
            block_keys: 0,
            segment_keys: 0,
            taken: HashSet::default(),
            nodes: Nodes::default(),
            features: FormatFeatures::default(),
            notes: Notes::default(),
            warnings: Warnings::default(),
        }
    }
}
