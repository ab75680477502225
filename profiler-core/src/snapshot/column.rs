//! A column that costs nothing while every row has the same value.

/// Values by row. While all rows equal the default none is stored, which is the usual case for
/// the keys that only some PyTorch versions or options write (`pool_id`, `user_metadata`,
/// `compile_context`, …).
#[derive(Clone, Debug, Default)]
pub struct SparseColumn<T> {
    default: T,
    len: usize,
    /// Empty, or exactly `len` values.
    values: Vec<T>,
}

impl<T: Copy + PartialEq> SparseColumn<T> {
    /// An empty column whose unstored rows read as `default`.
    #[must_use]
    pub fn new(default: T) -> Self {
        Self {
            default,
            len: 0,
            values: Vec::new(),
        }
    }

    /// Adds a row.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.values.is_empty() {
            if value == self.default {
                self.len += 1;
                return;
            }
            self.values.reserve(self.len + 1);
            self.values.resize(self.len, self.default);
        }
        self.values.push(value);
        self.len += 1;
    }

    /// Replaces the value of `row`; nothing past the end.
    pub fn set(&mut self, row: usize, value: T) {
        if row >= self.len || self.get(row) == value {
            return;
        }
        if self.values.is_empty() {
            self.values.resize(self.len, self.default);
        }
        if let Some(slot) = self.values.get_mut(row) {
            *slot = value;
        }
    }

    /// Adds the rows of `other` from `from` on. Both must have the same default.
    pub fn append(&mut self, other: &Self, from: usize) {
        let from = from.min(other.len);
        let added = other.len - from;
        if !other.is_stored() && !self.is_stored() {
            self.len += added;
            return;
        }
        self.values.resize(self.len, self.default);
        self.len += added;
        self.values
            .extend_from_slice(other.values.get(from..).unwrap_or(&[]));
        self.values.resize(self.len, self.default);
    }

    /// Adds `rows` before the first.
    pub fn prepend(&mut self, rows: impl ExactSizeIterator<Item = T> + Clone) {
        self.len += rows.len();
        if self.is_stored() {
            self.values.splice(0..0, rows);
        } else if rows.clone().any(|value| value != self.default) {
            self.values.extend(rows);
            self.values.resize(self.len, self.default);
        }
    }

    /// The value of `row`; the default past the end.
    #[inline]
    #[must_use]
    pub fn get(&self, row: usize) -> T {
        self.values.get(row).copied().unwrap_or(self.default)
    }

    /// How many rows were pushed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether some row differs from the default.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.values.is_empty()
    }

    /// Makes room for `more` rows, if values are stored at all. Without that much memory nothing
    /// is done: rows then come in as they can.
    pub fn expect(&mut self, more: usize) {
        if self.is_stored() && self.values.capacity() - self.values.len() < more {
            self.values.try_reserve_exact(more).ok();
        }
    }

    /// Takes every row out and keeps the memory for others.
    pub fn clear(&mut self) {
        self.len = 0;
        self.values.clear();
    }

    /// Gives back the memory that growing left over.
    pub fn shrink_to_fit(&mut self) {
        self.values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_only_from_the_first_different_row() {
        let mut column = SparseColumn::new(0_u32);
        column.push(0);
        column.push(0);
        assert!(!column.is_stored());
        column.push(5);
        column.push(0);
        assert_eq!(
            (0..5).map(|row| column.get(row)).collect::<Vec<_>>(),
            [0, 0, 5, 0, 0]
        );
        assert_eq!(column.len(), 4);
    }

    #[test]
    fn rows_are_added_at_both_ends() {
        let column = |values: &[u32]| {
            let mut column = SparseColumn::new(0_u32);
            for &value in values {
                column.push(value);
            }
            column
        };
        let cases: [&[u32]; 5] = [&[], &[0, 0], &[0, 7], &[7, 0], &[1, 2, 3]];
        for (a, b) in cases.iter().flat_map(|a| cases.map(|b| (*a, b))) {
            for from in 0..=b.len() + 1 {
                let mut appended = column(a);
                appended.append(&column(b), from);
                let expected = [a, b.get(from..).unwrap_or(&[])].concat();
                let rows = (0..appended.len()).map(|row| appended.get(row));
                assert_eq!(rows.collect::<Vec<_>>(), expected, "{a:?} {b:?} {from}");
                appended.push(9);
                assert_eq!(appended.get(expected.len()), 9);
            }
            let mut prepended = column(b);
            prepended.prepend(a.iter().copied());
            let rows = (0..prepended.len()).map(|row| prepended.get(row));
            assert_eq!(rows.collect::<Vec<_>>(), [a, b].concat(), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_first_row_that_differs_is_kept() {
        let mut column = SparseColumn::new(0_u32);
        column.push(9);
        assert_eq!((column.get(0), column.len()), (9, 1));
    }
}
