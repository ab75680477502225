//! A quantity over the moments of a recording.

use super::Moment;

/// A step function of bytes: the value from each change on, until the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curve {
    /// Where the value changes, ascending; the first is moment 0.
    moments: Vec<Moment>,
    /// The value from there on.
    values: Vec<u64>,
}

impl Curve {
    /// The curve that starts at `start`.
    #[must_use]
    pub fn starting_at(start: u64) -> Self {
        Self {
            moments: vec![0],
            values: vec![start],
        }
    }

    /// Sets the value from `moment` on. Moments must come in ascending order; an equal one
    /// overwrites, an earlier one is ignored.
    pub fn set(&mut self, moment: Moment, value: u64) {
        match (self.moments.last().copied(), self.values.last_mut()) {
            (Some(last), Some(current)) if moment == last => *current = value,
            (Some(last), Some(current)) if moment < last || *current == value => {}
            _ => {
                self.moments.push(moment);
                self.values.push(value);
            }
        }
    }

    /// Gives back the memory that growing left over.
    pub fn shrink_to_fit(&mut self) {
        self.moments.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// The value at `moment`; 0 for an empty curve.
    #[must_use]
    pub fn at(&self, moment: Moment) -> u64 {
        let after = self.moments.partition_point(|&change| change <= moment);
        after
            .checked_sub(1)
            .and_then(|row| self.values.get(row))
            .copied()
            .unwrap_or(0)
    }

    /// The value before the first event.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.values.first().copied().unwrap_or(0)
    }

    /// The value after the last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.values.last().copied().unwrap_or(0)
    }

    /// The highest value and the first moment that has it.
    #[must_use]
    pub fn peak(&self) -> (Moment, u64) {
        let mut best = (0, 0);
        for (moment, value) in self.steps() {
            if value > best.1 {
                best = (moment, value);
            }
        }
        best
    }

    /// Each change: the moment and the value from there on.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (Moment, u64)> + '_ {
        self.moments
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// Where the value changes, ascending; the first is moment 0.
    #[must_use]
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// The value from each of [`Self::moments`] on.
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether the curve has no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// For each of `columns` equal stretches of the moments `from..to`, the lowest and highest
    /// value in it. Exact: no step is skipped, so the highest point drawn is the true one.
    #[must_use]
    pub fn columns(&self, from: Moment, to: Moment, columns: u32) -> Vec<(u64, u64)> {
        let span = u64::from(to.saturating_sub(from));
        let edge = |column: u32| {
            let offset = span * u64::from(column) / u64::from(columns.max(1));
            from.saturating_add(offset as u32)
        };
        let mut row = self.moments.partition_point(|&change| change <= from);
        let mut value = self.at(from);
        let mut out = Vec::with_capacity(columns as usize);
        for column in 0..columns {
            let end = edge(column + 1);
            let (mut low, mut high) = (value, value);
            while let (Some(&change), Some(&next)) = (self.moments.get(row), self.values.get(row)) {
                if change >= end {
                    break;
                }
                // A change exactly at this column's left edge replaces the value before it.
                if change <= edge(column) {
                    (low, high) = (next, next);
                } else {
                    low = low.min(next);
                    high = high.max(next);
                }
                value = next;
                row += 1;
            }
            out.push((low, high));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_changes() {
        let mut curve = Curve::starting_at(10);
        curve.set(3, 30);
        curve.set(3, 35);
        curve.set(5, 35);
        curve.set(7, 5);
        assert_eq!(curve.len(), 3);
        assert_eq!(
            (0..9).map(|m| curve.at(m)).collect::<Vec<_>>(),
            [10, 10, 10, 35, 35, 35, 35, 5, 5]
        );
        assert_eq!(curve.peak(), (3, 35));
        assert_eq!((curve.first(), curve.last()), (10, 5));
        assert_eq!(Curve::default().peak(), (0, 0));
    }

    #[test]
    fn columns_hold_the_true_extremes() {
        let mut curve = Curve::starting_at(1);
        for moment in 1..100 {
            curve.set(moment, u64::from(moment * 7 % 31));
        }
        for columns in [1, 3, 7, 50, 100] {
            let drawn = curve.columns(0, 100, columns);
            let high = drawn.iter().map(|&(_, high)| high).max();
            assert_eq!(high, Some(30), "{columns} columns");
        }
        let each = curve.columns(0, 100, 100);
        for (moment, &(low, high)) in each.iter().enumerate() {
            assert_eq!(
                (low, high),
                (curve.at(moment as u32), curve.at(moment as u32))
            );
        }
    }
}
