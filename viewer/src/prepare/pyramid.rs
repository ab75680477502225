//! Exact extremes of any stretch of a curve, from a pyramid of blocks.
//!
//! ```text
//!   values   3 1 4 1 5 9 2 6 | 5 3 5 8 9 7 9 3 | 2 3 8 4 …      fan-out 8 here, 32 in the code
//!   level 1      1..9        |      3..9       |   2..8
//!   level 2                1..9 …
//! ```
//!
//! A stretch is answered from whole blocks where it covers them and from values at its two
//! edges, so nothing is sampled: the highest point found is the true one.

use profiler_core::replay::{Curve, Moment};

/// Values per block; blocks per block of the level above.
const FAN_OUT: usize = 32;

/// The lowest and highest value of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// Lowest value.
    pub low: u64,
    /// Highest value.
    pub high: u64,
    /// The first moment of the stretch at which the curve has its highest value.
    pub high_moment: Moment,
}

/// Blocks of blocks of lowest and highest values over one curve.
#[derive(Clone, Debug, Default)]
pub struct Pyramid {
    /// Level 1 and up; each entry covers `FAN_OUT` of the level below.
    levels: Vec<Vec<(u64, u64)>>,
}

impl Pyramid {
    /// The pyramid of `curve`. Use it only with that curve.
    #[must_use]
    pub fn new(curve: &Curve) -> Self {
        let mut levels = Vec::new();
        let blocks = |values: &[(u64, u64)]| -> Vec<(u64, u64)> {
            values
                .chunks(FAN_OUT)
                .map(|block| {
                    block.iter().fold((u64::MAX, 0), |(low, high), &(l, h)| {
                        (low.min(l), high.max(h))
                    })
                })
                .collect()
        };
        let first: Vec<(u64, u64)> = curve
            .values()
            .chunks(FAN_OUT)
            .map(|block| {
                block
                    .iter()
                    .fold((u64::MAX, 0), |(low, high), &v| (low.min(v), high.max(v)))
            })
            .collect();
        let mut level = first;
        while level.len() > 1 {
            let above = blocks(&level);
            levels.push(level);
            level = above;
        }
        levels.push(level);
        Self { levels }
    }

    /// Bytes it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.levels
            .iter()
            .map(|level| level.capacity() * size_of::<(u64, u64)>())
            .sum()
    }

    /// The extremes of `curve` over the moments `from..=to`, the value in force at `from`
    /// included. Zero for an empty curve.
    #[must_use]
    pub fn extremes(&self, curve: &Curve, from: Moment, to: Moment) -> Extremes {
        let moments = curve.moments();
        let start = moments
            .partition_point(|&moment| moment <= from)
            .saturating_sub(1);
        let end = moments.partition_point(|&moment| moment <= to).max(start);
        let mut search = Search {
            values: curve.values(),
            levels: &self.levels,
            range: (start, end),
            low: u64::MAX,
            high: None,
        };
        let top = self.levels.len();
        let width = self.levels.last().map_or(0, Vec::len);
        for block in 0..width {
            search.visit(top, block);
        }
        let (high, row) = search.high.map_or((0, start), |(high, level, block)| {
            (high, search.first_row_of(high, level, block))
        });
        Extremes {
            low: if search.high.is_some() { search.low } else { 0 },
            high,
            high_moment: moments.get(row).copied().unwrap_or(0).max(from),
        }
    }
}

/// One descent; level 0 is the values themselves.
struct Search<'a> {
    values: &'a [u64],
    levels: &'a [Vec<(u64, u64)>],
    range: (usize, usize),
    low: u64,
    /// The highest value so far, and the first block that has it: its level and number.
    high: Option<(u64, usize, usize)>,
}

impl Search<'_> {
    /// The lowest and highest value of a block.
    fn extremes(&self, level: usize, block: usize) -> Option<(u64, u64)> {
        match level.checked_sub(1) {
            None => self.values.get(block).map(|&value| (value, value)),
            Some(at) => self.levels.get(at)?.get(block).copied(),
        }
    }

    /// The blocks that `block` is made of, one level below.
    fn children(&self, level: usize, block: usize) -> std::ops::Range<usize> {
        let below = match level {
            0 | 1 => self.values.len(),
            _ => self.levels.get(level - 2).map_or(0, Vec::len),
        };
        block * FAN_OUT..((block + 1) * FAN_OUT).min(below)
    }

    fn visit(&mut self, level: usize, block: usize) {
        let span = FAN_OUT.pow(level as u32);
        let (first, past) = (block * span, (block + 1) * span);
        if past <= self.range.0 || first >= self.range.1 {
            return;
        }
        let Some((low, high)) = self.extremes(level, block) else {
            return;
        };
        // Neither extreme can come from here.
        if low >= self.low && self.high.is_some_and(|(known, ..)| high <= known) {
            return;
        }
        if level == 0 || (self.range.0 <= first && past <= self.range.1) {
            self.low = self.low.min(low);
            if self.high.is_none_or(|(known, ..)| high > known) {
                self.high = Some((high, level, block));
            }
            return;
        }
        // Of its parts those that the range reaches into.
        let span = span / FAN_OUT;
        let children = self.children(level, block);
        let from = children.start.max(self.range.0 / span);
        for child in from..children.end.min(self.range.1.div_ceil(span)) {
            self.visit(level - 1, child);
        }
    }

    /// The first row of a block that has its highest value.
    fn first_row_of(&self, high: u64, level: usize, block: usize) -> usize {
        let mut block = block;
        for level in (1..=level).rev() {
            let mut children = self.children(level, block);
            let found = children.find(|&child| {
                let known = self.extremes(level - 1, child);
                known.is_some_and(|(_, highest)| highest == high)
            });
            block = found.unwrap_or(block * FAN_OUT);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(curve: &Curve, from: Moment, to: Moment) -> Extremes {
        let mut found = Extremes {
            low: u64::MAX,
            high: 0,
            high_moment: from,
        };
        for moment in from..=to {
            let value = curve.at(moment);
            found.low = found.low.min(value);
            if value > found.high {
                (found.high, found.high_moment) = (value, moment);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn extremes_are_those_of_every_value(
            steps in proptest::collection::vec((1_u32..4, 0_u64..50), 0..3000),
            a in 0_u32..6000,
            b in 0_u32..6000,
        ) {
            let mut curve = Curve::starting_at(7);
            let mut at = 0;
            for (gap, value) in steps {
                at += gap;
                curve.set(at, value);
            }
            let pyramid = Pyramid::new(&curve);
            let (from, to) = (a.min(b), a.max(b));
            prop_assert_eq!(pyramid.extremes(&curve, from, to), naive(&curve, from, to));
        }
    }

    #[test]
    fn an_empty_curve_is_zero() {
        let curve = Curve::default();
        let found = Pyramid::new(&curve).extremes(&curve, 3, 9);
        assert_eq!((found.low, found.high), (0, 0));
    }
}
