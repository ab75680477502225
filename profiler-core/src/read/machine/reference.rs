//! References: what is stored in the memo and fetched from it.

use super::list::Content;
use super::{Fault, Machine, NO_ID, Place, Value};

impl Machine {
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
    pub(super) fn freeze(&mut self, slot: u32) -> Value {
        let value = self.seal(slot, Place::Item);
        if let Some(open) = self.opens.get_mut(slot as usize) {
            open.content = Content::Frozen(value);
        }
        value
    }

    #[cold]
    pub(super) fn finish_aliases(&mut self, slot: u32, value: Value) {
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
}
