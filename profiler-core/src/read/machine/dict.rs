//! Dicts: their keys and values on the way from the stack to the scratch.

use super::list::Content;
use super::{Fault, MAX_VALUES, Machine, Place, Value, Word};
use crate::snapshot::StringId;

impl Machine {
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

    /// A dict of the keys and values from `mark` up, in their place (`DICT`).
    pub(crate) fn make_dict(&mut self, mark: usize) -> Result<(), Fault> {
        self.wrap(mark, Content::Dict)?;
        self.set_items(mark + 1, 0)
    }

    /// Moves the keys and values from `mark` up to the scratch of the dict below them.
    pub(super) fn add_pairs(&mut self, slot: u32, mark: usize) -> Result<(), Fault> {
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
    pub(super) fn finish_values(&mut self, mark: usize) {
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
    pub(super) fn key_of(&mut self, key: Value) -> Result<StringId, Fault> {
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
}
