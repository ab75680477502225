//! Tuples, and the pairs of numbers that most of them are.

use super::{Fault, Machine, Place, Value};

impl Machine {
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

    /// The pair of two numbers; None if one is negative.
    #[inline]
    pub(crate) fn pair_of(&mut self, a: i64, b: i64) -> Option<u32> {
        Some(self.pair_id(u64::try_from(a).ok()?, u64::try_from(b).ok()?))
    }

    /// The handle of two numbers.
    #[inline]
    pub(super) fn pair(&mut self, a: u64, b: u64) -> Value {
        Value::Pair(self.pair_id(a, b))
    }

    /// The row of two numbers.
    #[inline]
    pub(super) fn pair_id(&mut self, a: u64, b: u64) -> u32 {
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
