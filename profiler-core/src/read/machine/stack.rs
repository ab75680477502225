//! The stack itself: what stands on it, and what leaves it.

use super::{Fault, MAX_VALUES, Machine, Place, Value};
use crate::snapshot::StringId;

impl Machine {
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

    /// The string `below` places under the top, for messages; empty if there is none.
    pub(crate) fn text_below_top(&self, below: usize) -> &str {
        let at = self.stack.len().checked_sub(below.saturating_add(1));
        match at.and_then(|at| self.stack.get(at)) {
            Some(&Value::Str(id)) => self.strings.get(id),
            _ => "",
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

    /// The handle of a string that is likely the one asked for last; None if it is not UTF-8.
    #[inline]
    pub(crate) fn repeated_text(&mut self, text: &[u8]) -> Option<StringId> {
        if self.strings.get(self.last_text).as_bytes() != text {
            self.last_text = self.strings.intern(std::str::from_utf8(text).ok()?);
        }
        Some(self.last_text)
    }

    /// Pushes a value, joining trace entries that follow each other into one run.
    #[inline]
    pub(super) fn push_merged(&mut self, value: Value, fence: usize) {
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
    pub(super) fn pop_raw(&mut self, fence: usize) -> Option<Value> {
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
}
