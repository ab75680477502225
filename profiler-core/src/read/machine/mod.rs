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

mod event;
mod fault;
mod finish;
mod list;
mod memo;
mod node;
mod notes;
mod numbers;
mod rows;
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

    /// How many values are on the stack.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.stack.len()
    }

    /// The value on top, if it is above `fence`.
    #[inline]
    pub(crate) fn top(&self, fence: usize) -> Option<Value> {
        if self.stack.len() > fence {
            self.stack.last().copied()
        } else {
            None
        }
    }

    /// Puts a finished value on the stack.
    #[inline]
    pub(crate) fn push(&mut self, value: Value) -> Result<(), Fault> {
        if self.stack.len() >= MAX_VALUES {
            return Err(Fault::too_large("values on the pickle's stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Puts a string on the stack.
    #[inline]
    pub(crate) fn push_text(&mut self, text: &str) -> Result<(), Fault> {
        let id = self.strings.intern(text);
        self.push(Value::Str(id))
    }

    /// Opens a dict.
    #[inline]
    pub(crate) fn open_dict(&mut self, fence: usize) -> Result<(), Fault> {
        self.settle(fence);
        self.open(Content::Dict)
    }

    /// Opens a list.
    #[inline]
    pub(crate) fn open_list(&mut self, fence: usize) -> Result<(), Fault> {
        self.settle(fence);
        // Another device's list may begin while one of trace entries is still open: its entries
        // go to a trace of their own, so that neither has to be copied.
        if let Some(Content::Events { .. }) = self.opens.last().map(|open| open.content) {
            self.staging = None;
        }
        self.open(Content::Empty)
    }

    #[inline]
    fn open(&mut self, content: Content) -> Result<(), Fault> {
        if self.opens.len() >= MAX_VALUES {
            return Err(Fault::too_large("open lists and dicts"));
        }
        let slot = self.opens.len() as u32;
        self.opens.push(Open {
            content,
            pairs: self.pairs.len() as u32,
            values: self.values.len() as u32,
            frames: self.frame_ids.len() as u32,
            memo_id: NO_ID,
            keys: 0,
        });
        self.push(Value::Open(slot))
    }

    /// A container is about to be pushed above the top value. If that is a dict, it is finished:
    /// a container cannot be its key. Finishing it now keeps the stack short where a writer puts
    /// a whole list between one MARK and one APPENDS.
    #[inline]
    pub(crate) fn settle(&mut self, fence: usize) {
        if self.stack.len() <= fence {
            return;
        }
        let Some(&Value::Open(slot)) = self.stack.last() else {
            return;
        };
        let Some(open) = self.opens.get(slot as usize) else {
            return;
        };
        if open.content == Content::Dict {
            let value = self.seal(slot, Place::Item);
            self.truncate_opens(slot as usize);
            self.stack.pop();
            self.push_merged(value, fence);
        }
    }

    /// Pushes a value, joining trace entries that follow each other into one run.
    #[inline]
    fn push_merged(&mut self, value: Value, fence: usize) {
        if let Value::Events { trace, row, len } = value
            && self.stack.len() > fence
            && let Some(Value::Events {
                trace: below_trace,
                row: below_row,
                len: below_len,
            }) = self.stack.last_mut()
            && *below_trace == trace
            && below_row.checked_add(*below_len) == Some(row)
            && let Some(joined) = below_len.checked_add(len)
        {
            *below_len = joined;
            return;
        }
        self.stack.push(value);
    }

    /// Takes the top value off the stack, as it is: an open container stays open.
    fn pop_raw(&mut self, fence: usize) -> Option<Value> {
        if self.stack.len() <= fence {
            return None;
        }
        match self.stack.last_mut()? {
            Value::Events { trace, row, len } if *len > 1 => {
                *len -= 1;
                let last = Value::Events {
                    trace: *trace,
                    row: row.saturating_add(*len),
                    len: 1,
                };
                Some(last)
            }
            _ => self.stack.pop(),
        }
    }

    /// Drops the top value.
    pub(crate) fn drop_top(&mut self, fence: usize) -> Result<(), Fault> {
        match self.pop_raw(fence) {
            Some(Value::Open(slot)) => {
                // What it was is still wanted if the memo refers to it.
                self.seal(slot, Place::Item);
                self.truncate_opens(slot as usize);
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(Fault::malformed("there is no value to drop")),
        }
    }

    /// Drops everything from `mark` up.
    pub(crate) fn drop_to(&mut self, mark: usize) -> Result<(), Fault> {
        while self.stack.len() > mark {
            self.drop_top(mark)?;
        }
        Ok(())
    }

    /// Pushes the top value again.
    pub(crate) fn duplicate(&mut self, fence: usize) -> Result<(), Fault> {
        let top = self
            .top(fence)
            .ok_or_else(|| Fault::malformed("there is no value to duplicate"))?;
        let value = match top {
            Value::Open(slot) => self.freeze(slot),
            Value::Events { trace, row, len } => Value::Events {
                trace,
                row: row.saturating_add(len.saturating_sub(1)),
                len: 1,
            },
            other => other,
        };
        self.push(value)
    }

    /// Stores the top value in the memo; true if that replaced an entry.
    #[inline]
    pub(crate) fn store(&mut self, id: usize, fence: usize) -> Result<bool, Fault> {
        let top = self
            .top(fence)
            .ok_or_else(|| Fault::malformed("there is no value to store in the memo"))?;
        let value = match top {
            Value::Open(slot) => {
                if let Some(open) = self.opens.get_mut(slot as usize)
                    && id < NO_ID as usize
                {
                    if let Content::Frozen(value) = open.content {
                        value
                    } else {
                        let earlier = std::mem::replace(&mut open.memo_id, id as u32);
                        if earlier != NO_ID {
                            self.aliases.push((slot, earlier));
                        }
                        top
                    }
                } else {
                    return Err(Fault::too_large("memo entries"));
                }
            }
            Value::Events { trace, row, len } => Value::Events {
                trace,
                row: row.saturating_add(len.saturating_sub(1)),
                len: 1,
            },
            other => other,
        };
        Ok(self.memo.put(id, value))
    }

    /// Pushes what the memo has under `id`.
    #[inline]
    pub(crate) fn fetch(&mut self, id: usize) -> Result<(), Fault> {
        match self.memo.get(id) {
            Some(Value::Open(slot)) => {
                let value = self.freeze(slot);
                self.push(value)
            }
            Some(value) => self.push(value),
            None => Err(Fault::malformed("the memo has no such entry")),
        }
    }

    /// The value of an open container that stays on the stack; it may not change any more.
    fn freeze(&mut self, slot: u32) -> Value {
        let value = self.seal(slot, Place::Item);
        if let Some(open) = self.opens.get_mut(slot as usize) {
            open.content = Content::Frozen(value);
        }
        value
    }

    /// Forgets the open containers from `slot` up, after their values were taken.
    #[inline]
    fn truncate_opens(&mut self, slot: usize) {
        let Some(first) = self.opens.get(slot).copied() else {
            return;
        };
        self.opens.truncate(slot);
        self.pairs.truncate(first.pairs as usize);
        self.values.truncate(first.values as usize);
        self.frame_ids.truncate(first.frames as usize);
    }

    /// Finishes an open container: makes its row or node and lets the memo know.
    #[inline]
    fn seal(&mut self, slot: u32, place: Place) -> Value {
        let index = slot as usize;
        let Some(open) = self.opens.get(index).copied() else {
            return Value::None;
        };
        let value = match open.content {
            Content::Frozen(value) => return value,
            Content::Dict => {
                let start = open.pairs as usize;
                let end = self
                    .opens
                    .get(index + 1)
                    .map_or(self.pairs.len(), |next| next.pairs as usize);
                self.seal_dict(open.keys, start, end, place)
            }
            _ => self.seal_list(index, open, place),
        };
        if open.memo_id != NO_ID {
            self.memo.finish(open.memo_id as usize, slot, value);
            if !self.aliases.is_empty() {
                self.finish_aliases(slot, value);
            }
        }
        value
    }

    #[cold]
    fn finish_aliases(&mut self, slot: u32, value: Value) {
        // Slots in `aliases` ascend: only the top container is ever stored.
        let start = self.aliases.partition_point(|&(other, _)| other < slot);
        let mut at = start;
        while let Some(&(other, id)) = self.aliases.get(at)
            && other == slot
        {
            self.memo.finish(id as usize, slot, value);
            at += 1;
        }
        self.aliases.drain(start..at);
    }

    /// The open dict at `at` in the stack, or what is wrong there.
    #[inline]
    fn open_at(&self, at: usize, fence: usize, dict: bool) -> Result<u32, Fault> {
        if at < fence {
            return Err(Fault::malformed("there is no list or dict to add to"));
        }
        match self.stack.get(at) {
            Some(&Value::Open(slot)) => {
                let content = self.opens.get(slot as usize).map(|open| open.content);
                match content {
                    Some(Content::Frozen(_)) => Err(Fault::cyclic()),
                    Some(Content::Dict) if dict => Ok(slot),
                    Some(Content::Dict) => {
                        Err(Fault::malformed("items of a list are added to a dict"))
                    }
                    Some(_) if dict => Err(Fault::malformed("keys are added to a list")),
                    Some(_) => Ok(slot),
                    None => Err(Fault::malformed("there is no list or dict to add to")),
                }
            }
            Some(Value::None) | None => Err(Fault::malformed("there is no list or dict to add to")),
            // A handle where an open container should be: it was fetched from the memo.
            Some(Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)) => Err(
                Fault::malformed("items are added to something that is no list or dict"),
            ),
            Some(_) => Err(Fault::cyclic()),
        }
    }

    /// `SETITEMS`: the keys and values from `mark` up go into the dict below.
    pub(crate) fn set_items(&mut self, mark: usize, fence: usize) -> Result<(), Fault> {
        let at = mark
            .checked_sub(1)
            .ok_or_else(|| Fault::malformed("there is no dict to add to"))?;
        let slot = self.open_at(at, fence, true)?;
        self.add_pairs(slot, mark)
    }

    /// `SETITEM`: the top key and value go into the dict below.
    pub(crate) fn set_item(&mut self, fence: usize) -> Result<(), Fault> {
        let mark = self.stack.len().checked_sub(2);
        let Some(mark) = mark.filter(|&mark| mark > fence) else {
            return Err(Fault::malformed("there is no dict, key and value"));
        };
        self.set_items(mark, fence)
    }

    /// Moves the keys and values from `mark` up to the scratch of the dict below them.
    fn add_pairs(&mut self, slot: u32, mark: usize) -> Result<(), Fault> {
        let count = self.stack.len().saturating_sub(mark);
        if !count.is_multiple_of(2) {
            return Err(Fault::malformed("a dict has a key without a value"));
        }
        if self.pairs.len() + count / 2 > MAX_VALUES {
            return Err(Fault::too_large("dict items"));
        }
        if self.opens.len() > slot as usize + 1 {
            self.finish_values(mark);
        }
        let mut keys = 0;
        let mut at = mark;
        while let Some([key, value]) = self.stack.get(at..).and_then(<[_]>::first_chunk) {
            let (&key, &value) = (key, value);
            at += 2;
            let key = match key {
                Value::Str(id) => id,
                other => self.key_of(other)?,
            };
            if let Value::Node(node) = value
                && self.nodes.depth(node) > self.max_depth
            {
                return Err(Fault::too_deep(self.max_depth));
            }
            keys |= Word::bit_of(key);
            self.pairs.push((key, value));
        }
        if let Some(open) = self.opens.get_mut(slot as usize) {
            open.keys |= keys;
        }
        self.stack.truncate(mark);
        Ok(())
    }

    /// Finishes the open containers among the keys and values from `mark` up, where they stand.
    #[inline]
    fn finish_values(&mut self, mark: usize) {
        let mut first_open = None;
        for at in mark..self.stack.len() {
            let Some(&Value::Open(slot)) = self.stack.get(at) else {
                continue;
            };
            first_open.get_or_insert(slot);
            let key = at.checked_sub(1).and_then(|key| self.stack.get(key));
            let place = match key {
                Some(&Value::Str(key)) => match Word::of(key) {
                    Some(Word::UserMetadata) => Place::Opaque,
                    Some(Word::ForwardFrames) => Place::Lines,
                    _ => Place::Value,
                },
                _ => Place::Value,
            };
            let value = self.seal(slot, place);
            if let Some(item) = self.stack.get_mut(at) {
                *item = value;
            }
        }
        if let Some(slot) = first_open {
            self.truncate_opens(slot as usize);
        }
    }

    /// A dict key that is no string, as JSON would have it.
    fn key_of(&mut self, key: Value) -> Result<StringId, Fault> {
        match key {
            Value::Int(_) | Value::UInt(_) | Value::Bool(_) | Value::None | Value::Float(_) => {
                let text = self.json_text(key);
                Ok(self.strings.intern(&text))
            }
            Value::Pair(_) | Value::Node(_) | Value::EmptyList | Value::Bytes => {
                let text = self.json_text(key);
                Ok(self.strings.intern(&text))
            }
            Value::Open(_) => Err(Fault::malformed("a dict's key is a list or dict")),
            _ => Err(Fault::malformed("a dict's key is no string or number")),
        }
    }

    /// A tuple of the values from `mark` up, in their place.
    pub(crate) fn make_tuple(&mut self, mark: usize) -> Result<(), Fault> {
        if let [Value::Int(a), Value::Int(b)] = self.stack.get(mark..).unwrap_or(&[])
            && *a >= 0
            && *b >= 0
        {
            let pair = self.pair(*a as u64, *b as u64);
            self.stack.truncate(mark);
            return self.push(pair);
        }
        self.make_list(mark)?;
        // A tuple cannot change: finish it.
        if let Some(&Value::Open(slot)) = self.stack.last() {
            let value = self.seal(slot, Place::Item);
            self.truncate_opens(slot as usize);
            self.stack.pop();
            if let Value::Node(node) = value
                && self.nodes.depth(node) > self.max_depth
            {
                return Err(Fault::too_deep(self.max_depth));
            }
            self.stack.push(value);
        }
        Ok(())
    }

    /// A list of the values from `mark` up, in their place (`LIST`).
    pub(crate) fn make_list(&mut self, mark: usize) -> Result<(), Fault> {
        self.wrap(mark, Content::Empty)?;
        self.append_items(mark + 1, 0)
    }

    /// A dict of the keys and values from `mark` up, in their place (`DICT`).
    pub(crate) fn make_dict(&mut self, mark: usize) -> Result<(), Fault> {
        self.wrap(mark, Content::Dict)?;
        self.set_items(mark + 1, 0)
    }

    /// Opens a container below the values from `mark` up, which are finished first: open
    /// containers have to lie on the stack in the order of their slots.
    fn wrap(&mut self, mark: usize, content: Content) -> Result<(), Fault> {
        if mark > self.stack.len() {
            return Err(Fault::malformed("there is no MARK"));
        }
        let mut first_open = None;
        for at in mark..self.stack.len() {
            if let Some(&Value::Open(slot)) = self.stack.get(at) {
                first_open.get_or_insert(slot);
                let value = self.seal(slot, Place::Item);
                if let Some(item) = self.stack.get_mut(at) {
                    *item = value;
                }
            }
        }
        if let Some(slot) = first_open {
            self.truncate_opens(slot as usize);
        }
        self.open(content)?;
        if let Some(items) = self.stack.get_mut(mark..) {
            items.rotate_right(1);
        }
        Ok(())
    }

    /// The string `below` places under the top, for messages; empty if there is none.
    pub(crate) fn text_below_top(&self, below: usize) -> &str {
        let at = self.stack.len().checked_sub(below.saturating_add(1));
        match at.and_then(|at| self.stack.get(at)) {
            Some(&Value::Str(id)) => self.strings.get(id),
            _ => "",
        }
    }

    /// The handle of two numbers.
    #[inline]
    fn pair(&mut self, a: u64, b: u64) -> Value {
        Value::Pair(self.pair_id(a, b))
    }

    /// The row of two numbers.
    #[inline]
    fn pair_id(&mut self, a: u64, b: u64) -> u32 {
        if self.last_pair.0 == (a, b) {
            return self.last_pair.1;
        }
        let next = self.number_pairs.len() as u32;
        let id = *self.number_pair_ids.entry((a, b)).or_insert(next);
        if id == next {
            self.number_pairs.push((a, b));
        }
        self.last_pair = ((a, b), id);
        id
    }
}
