//! Dicts and lists from their opcode until something needs their value.

use super::list::Content;
use super::{Fault, MAX_VALUES, Machine, NO_ID, Open, Place, Value};

impl Machine {
    /// Whether so many more values can be pushed, stored and opened.
    #[inline]
    pub(crate) fn has_room(&self, values: usize) -> bool {
        self.stack.len() + values < MAX_VALUES
            && self.opens.len() + values < MAX_VALUES
            && self.pairs.len() + values < MAX_VALUES
            && self.memo.next_id() + values < NO_ID as usize
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
    pub(super) fn open(&mut self, content: Content) -> Result<(), Fault> {
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

    /// The open dict at `at` in the stack, or what is wrong there.
    #[inline]
    pub(super) fn open_at(&self, at: usize, fence: usize, dict: bool) -> Result<u32, Fault> {
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

    /// Opens a container below the values from `mark` up, which are finished first: open
    /// containers have to lie on the stack in the order of their slots.
    pub(super) fn wrap(&mut self, mark: usize, content: Content) -> Result<(), Fault> {
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

    /// Finishes an open container: makes its row or node and lets the memo know.
    #[inline]
    pub(super) fn seal(&mut self, slot: u32, place: Place) -> Value {
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

    /// Forgets the open containers from `slot` up, after their values were taken.
    #[inline]
    pub(super) fn truncate_opens(&mut self, slot: usize) {
        let Some(first) = self.opens.get(slot).copied() else {
            return;
        };
        self.opens.truncate(slot);
        self.pairs.truncate(first.pairs as usize);
        self.values.truncate(first.values as usize);
        self.frame_ids.truncate(first.frames as usize);
    }
}
