//! Trace entries read ahead: a whole dict at once, past the machine's stack.
//!
//! Picklers write the trace's entries alike, and most of a file is nothing else: a dict, its keys
//! from the memo, each with a number, a string, a pair or a list of frames, then the next dict.
//! Such a dict is read here from its EMPTY_DICT to its SETITEMS, and its pairs go to where the
//! machine makes rows of them. Of anything else, at whatever opcode it shows, nothing is read:
//! the steps then execute the dict from its EMPTY_DICT on, as if it had not been looked at. They
//! are what the result is held against: the tests read every file both ways.

use super::source::Source;
use super::stacks::RawStacks;
use super::{Reader, op};
use crate::read::machine::{Machine, Value};
use crate::snapshot::StringId;

/// The most pairs of an entry read ahead; PyTorch writes up to 12 (2.15).
const MAX_PAIRS: usize = 24;

/// What one entry has, kept from entry to entry for its memory.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pairs: Vec<(StringId, Value)>,
    /// What is stored in the memo behind the dict, in order.
    stored: Vec<Value>,
}

impl Reader<'_> {
    /// Reads the trace entry whose EMPTY_DICT has just been read, if that is all there is up to
    /// the next EMPTY_DICT; false, and nothing is read, otherwise.
    #[inline]
    pub(super) fn read_ahead(&mut self) -> bool {
        // Nothing of the dict can reach a cap that the steps would stop at.
        if self.marks.len() >= self.max_depth as usize
            || !self.machine.has_room(4 * MAX_PAIRS)
            || !self.machine.memo.is_dense()
        {
            return false;
        }
        self.machine.settle(self.fence);
        self.ahead.pairs.clear();
        self.ahead.stored.clear();
        let mut entry = Entry {
            source: self.source,
            machine: &mut self.machine,
            stacks: &self.stacks,
            ahead: &mut self.ahead,
            stores: 0,
        };
        let Some(is_stored) = entry.dict() else {
            return false;
        };
        let source = entry.source;
        self.source = source;
        let value = self.machine.add_entry(&self.ahead.pairs, self.fence);
        if is_stored {
            self.machine.memo.append(value);
        }
        for &value in &self.ahead.stored {
            self.machine.memo.append(value);
        }
        true
    }
}

/// An entry while it is looked at. Every method gives None where the steps have to do it.
///
/// Strings and pairs of numbers are interned at once: the steps would intern the same ones in
/// the same order.
struct Entry<'e, 'a> {
    source: Source<'a>,
    machine: &'e mut Machine,
    stacks: &'e RawStacks,
    ahead: &'e mut Ahead,
    /// How many values are stored in the memo.
    stores: usize,
}

impl Entry<'_, '_> {
    /// The dict behind its EMPTY_DICT, and whether it is stored in the memo.
    #[inline]
    fn dict(&mut self) -> Option<bool> {
        let is_stored = self.store()?;
        if self.source.next()? != op::MARK {
            return None;
        }
        let mut has_action = false;
        loop {
            let key = match self.source.next()? {
                op::LONG_BINGET => self.source.next_u32()? as usize,
                op::BINGET => usize::from(self.source.next()?),
                op::SETITEMS => break,
                _ => return None,
            };
            let key = self.machine.memo.text(key)?;
            if self.ahead.pairs.len() == MAX_PAIRS {
                return None;
            }
            has_action |= Machine::tells_an_entry(key);
            self.value(key)?;
        }
        // Only a dict that another follows is finished by that.
        (has_action && self.source.peek() == Some(op::EMPTY_DICT)).then_some(is_stored)
    }

    /// The value behind `key`. It is put in its place where it is made: to hand it on in between
    /// costs more than to read it.
    #[inline]
    fn value(&mut self, key: StringId) -> Option<()> {
        let opcode = self.source.next()?;
        match opcode {
            op::LONG_BINGET => {
                let id = self.source.next_u32()?;
                self.fetch(key, id as usize)
            }
            op::BINGET => {
                let id = self.source.next()?;
                self.fetch(key, usize::from(id))
            }
            op::BININT1 | op::BININT2 | op::BININT | op::LONG1 => {
                let number = self.number(opcode)?;
                match self.source.peek()? {
                    // Where a key should be: the second number of a pair.
                    opcode @ (op::BININT1 | op::BININT2 | op::BININT | op::LONG1) => {
                        self.source.next()?;
                        let second = self.number(opcode)?;
                        if self.source.next()? != op::TUPLE2 {
                            return None;
                        }
                        let pair = self.machine.pair_of(number, second)?;
                        if self.store()? {
                            self.ahead.stored.push(Value::Pair(pair));
                        }
                        self.ahead.pairs.push((key, Value::Pair(pair)));
                    }
                    _ => self.ahead.pairs.push((key, Value::Int(number))),
                }
                Some(())
            }
            op::SHORT_BINUNICODE => {
                let len = self.source.next()?;
                let text = self.source.next_bytes(usize::from(len))?;
                let text = self.machine.repeated_text(text)?;
                if self.store()? {
                    self.ahead.stored.push(Value::Str(text));
                }
                self.ahead.pairs.push((key, Value::Str(text)));
                Some(())
            }
            op::EMPTY_LIST => self.list(key),
            op::NONE => {
                self.ahead.pairs.push((key, Value::None));
                Some(())
            }
            _ => None,
        }
    }

    /// What the memo has, unless that has yet to be finished or looked into.
    #[inline]
    fn fetch(&mut self, key: StringId, id: usize) -> Option<()> {
        if let Some(text) = self.machine.memo.text(id) {
            self.ahead.pairs.push((key, Value::Str(text)));
            return Some(());
        }
        let value = self.machine.memo.get(id)?;
        if matches!(value, Value::Open(_) | Value::Node(_)) {
            return None;
        }
        self.ahead.pairs.push((key, value));
        Some(())
    }

    /// A list without items, or of the frames of a stack already met.
    #[inline]
    fn list(&mut self, key: StringId) -> Option<()> {
        let is_stored = self.store()?;
        let mut stack = None;
        if self.source.peek()? == op::MARK {
            self.source.next()?;
            let run = self.source.memo_gets_to_appends()?;
            stack = Some(self.stacks.find(self.source.bytes(), run)?);
            self.source.skip_run(run);
        }
        let value = stack.map_or(Value::EmptyList, Value::Stack);
        if is_stored {
            self.ahead.stored.push(value);
        }
        self.ahead.pairs.push((key, value));
        Some(())
    }

    #[inline]
    fn number(&mut self, opcode: u8) -> Option<i64> {
        Some(match opcode {
            op::BININT1 => i64::from(self.source.next()?),
            op::BININT2 => i64::from(self.source.next_u16()?),
            op::BININT => i64::from(self.source.next_u32()? as i32),
            _ => {
                let len = self.source.next()?;
                self.source.short_number(len)?
            }
        })
    }

    /// Whether the memo's next entry is stored here; None for any other entry.
    #[inline]
    fn store(&mut self) -> Option<bool> {
        let id = match self.source.peek()? {
            op::MEMOIZE => {
                self.source.next()?;
                self.stores += 1;
                return Some(true);
            }
            op::BINPUT => {
                self.source.next()?;
                usize::from(self.source.next()?)
            }
            op::LONG_BINPUT => {
                self.source.next()?;
                self.source.next_u32()? as usize
            }
            _ => return Some(false),
        };
        let is_next = id == self.machine.memo.next_id() + self.stores;
        self.stores += 1;
        is_next.then_some(true)
    }
}
