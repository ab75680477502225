//! The pickle memo: eight bytes per entry whatever the entry stands for.
//!
//! CPython memoises every dict, list, tuple and string, some three entries per trace event, and
//! only strings, frames and stacks are ever fetched again. So an entry is a tagged handle, and the
//! few values that do not fit (a list of blocks, a float) are kept aside.

use super::value::Value;
use crate::snapshot::{FrameId, StackId, StringId};

/// Memo entries by id.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    entries: Vec<u64>,
    /// How many entries are set: the id the next `MEMOIZE` uses.
    set: usize,
    wide: Vec<Value>,
}

const TAG_SHIFT: u32 = 56;
const PAYLOAD: u64 = (1 << TAG_SHIFT) - 1;
/// The largest number of traces whose rows fit a payload beside 32 bits of row.
const MAX_INLINE_TRACE: u32 = 1 << 24;

const UNSET: u64 = 0;
const NONE: u64 = 1;
const BOOL: u64 = 2;
const STR: u64 = 3;
const PAIR: u64 = 4;
const EMPTY_LIST: u64 = 5;
const FRAME: u64 = 6;
const STACK: u64 = 7;
const EVENT: u64 = 8;
const BLOCK: u64 = 9;
const SEGMENT: u64 = 10;
const ANNOTATION: u64 = 11;
const NODE: u64 = 12;
const OPEN: u64 = 13;
const WIDE: u64 = 14;

impl Memo {
    /// The id `MEMOIZE` stores under: how many entries are set (`_Unpickler_MemoPut` with
    /// `memo_len`, CPython's `Modules/_pickle.c`).
    #[inline]
    pub(crate) fn next_id(&self) -> usize {
        self.set
    }

    /// Whether all ids up to the next one are set: then none above is, and a new entry is one
    /// more.
    #[inline]
    pub(crate) fn is_dense(&self) -> bool {
        self.set == self.entries.len()
    }

    /// Stores `value` under the next id of a dense memo.
    #[inline]
    pub(crate) fn append(&mut self, value: Value) {
        let packed = self.pack(value);
        self.entries.push(packed);
        self.set += 1;
    }

    /// The string under `id`, if it is one.
    #[inline]
    pub(crate) fn text(&self, id: usize) -> Option<StringId> {
        let entry = *self.entries.get(id)?;
        (entry >> TAG_SHIFT == STR).then_some(StringId(entry as u32))
    }

    /// Stores `value` under `id`; true if that replaced an entry. The caller bounds `id`.
    #[inline]
    pub(crate) fn put(&mut self, id: usize, value: Value) -> bool {
        let packed = self.pack(value);
        if id == self.entries.len() {
            self.entries.push(packed);
            self.set += 1;
            return false;
        }
        if id > self.entries.len() {
            self.entries
                .resize(id.saturating_add(1), UNSET << TAG_SHIFT);
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let replaced = *entry >> TAG_SHIFT != UNSET;
        *entry = packed;
        if !replaced {
            self.set += 1;
        }
        replaced
    }

    /// Replaces the entry at `id` when the container it stood for is finished, if it still
    /// stands for the open container `slot`.
    #[inline]
    pub(crate) fn finish(&mut self, id: usize, slot: u32, value: Value) {
        let packed = self.pack(value);
        if let Some(entry) = self.entries.get_mut(id)
            && *entry == (OPEN << TAG_SHIFT | u64::from(slot))
        {
            *entry = packed;
        }
    }

    /// The value under `id`.
    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<Value> {
        let entry = *self.entries.get(id)?;
        let payload = entry & PAYLOAD;
        let low = payload as u32;
        Some(match entry >> TAG_SHIFT {
            NONE => Value::None,
            BOOL => Value::Bool(low != 0),
            STR => Value::Str(StringId(low)),
            PAIR => Value::Pair(low),
            EMPTY_LIST => Value::EmptyList,
            FRAME => Value::Frame(FrameId(low)),
            STACK => Value::Stack(StackId(low)),
            EVENT => Value::Events {
                trace: (payload >> 32) as u32,
                row: low,
                len: 1,
            },
            BLOCK => Value::Block(low),
            SEGMENT => Value::Segment(low),
            ANNOTATION => Value::Annotation(low),
            NODE => Value::Node(low),
            OPEN => Value::Open(low),
            WIDE => self.wide.get(payload as usize).copied()?,
            _ => return None,
        })
    }

    #[inline]
    fn pack(&mut self, value: Value) -> u64 {
        let (tag, payload) = match value {
            Value::None => (NONE, 0),
            Value::Bool(bool) => (BOOL, u64::from(bool)),
            Value::Str(id) => (STR, u64::from(id.0)),
            Value::Pair(id) => (PAIR, u64::from(id)),
            Value::EmptyList => (EMPTY_LIST, 0),
            Value::Frame(id) => (FRAME, u64::from(id.0)),
            Value::Stack(id) => (STACK, u64::from(id.0)),
            Value::Events { trace, row, len: 1 } if trace < MAX_INLINE_TRACE => {
                (EVENT, u64::from(trace) << 32 | u64::from(row))
            }
            Value::Block(id) => (BLOCK, u64::from(id)),
            Value::Segment(id) => (SEGMENT, u64::from(id)),
            Value::Annotation(id) => (ANNOTATION, u64::from(id)),
            Value::Node(id) => (NODE, u64::from(id)),
            Value::Open(slot) => (OPEN, u64::from(slot)),
            other => {
                self.wide.push(other);
                (WIDE, self.wide.len() as u64 - 1)
            }
        };
        tag << TAG_SHIFT | payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let values = [
            Value::None,
            Value::Bool(true),
            Value::Int(-5),
            Value::UInt(u64::MAX),
            Value::TooBig { negative: true },
            Value::Float(0.25),
            Value::Str(StringId(u32::MAX)),
            Value::Bytes,
            Value::Pair(3),
            Value::EmptyList,
            Value::Frame(FrameId(4)),
            Value::Stack(StackId(5)),
            Value::Events {
                trace: MAX_INLINE_TRACE - 1,
                row: u32::MAX,
                len: 1,
            },
            Value::Events {
                trace: MAX_INLINE_TRACE,
                row: 1,
                len: 1,
            },
            Value::Events {
                trace: 0,
                row: 1,
                len: 2,
            },
            Value::Trace(6),
            Value::Block(7),
            Value::Blocks { start: 1, end: 2 },
            Value::Segment(8),
            Value::Segments { start: 1, end: 2 },
            Value::Annotation(9),
            Value::Annotations { start: 1, end: 2 },
            Value::History(1),
            Value::Histories(2),
            Value::Snapshot(3),
            Value::Node(10),
            Value::Open(11),
        ];
        let mut memo = Memo::default();
        for (id, &value) in values.iter().enumerate() {
            assert!(!memo.put(id, value));
        }
        for (id, &value) in values.iter().enumerate() {
            assert_eq!(memo.get(id), Some(value));
        }
        assert_eq!(memo.get(values.len()), None);
    }

    #[test]
    fn sparse_ids_and_replacing() {
        let mut memo = Memo::default();
        assert!(!memo.put(5, Value::None));
        assert_eq!(memo.get(4), None);
        assert_eq!(memo.next_id(), 1);
        assert!(memo.put(5, Value::Open(2)));
        memo.finish(5, 3, Value::EmptyList);
        assert_eq!(memo.get(5), Some(Value::Open(2)), "of another container");
        memo.finish(5, 2, Value::EmptyList);
        assert_eq!(memo.get(5), Some(Value::EmptyList));
    }
}
