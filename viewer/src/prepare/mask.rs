//! Which allocations of a device a filter keeps.

use profiler_core::replay::AllocationId;

/// One bit per allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    count: u64,
}

impl Mask {
    /// The mask that keeps the rows below `rows` for which `keep` is true.
    #[must_use]
    pub fn new(rows: usize, mut keep: impl FnMut(AllocationId) -> bool) -> Self {
        let mut words = vec![0_u64; rows.div_ceil(64)];
        let mut count = 0;
        for row in 0..rows as u32 {
            if keep(AllocationId(row)) {
                words[row as usize / 64] |= 1 << (row % 64);
                count += 1;
            }
        }
        Self { words, count }
    }

    /// Whether `row` is kept.
    #[inline]
    #[must_use]
    pub fn has(&self, row: u32) -> bool {
        self.words
            .get(row as usize / 64)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// How many are kept.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_kept() {
        let mask = Mask::new(130, |id| id.0 % 3 == 0);
        assert_eq!(mask.count(), 44);
        for row in 0..140 {
            assert_eq!(mask.has(row), row < 130 && row % 3 == 0, "{row}");
        }
    }
}
