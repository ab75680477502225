//! Rows copied because a list's rows do not follow each other.

/// How to append the row `at` to the rows `start..end` of an arena of `len` rows.
pub(super) struct Copies {
    start: usize,
    end: usize,
    at: usize,
    /// Whether it already follows.
    follows: bool,
    /// Whether the rows are the arena's last, so that a copy of the new one follows them.
    last: bool,
}

/// How to append the row `at` to the rows `start..end` of an arena of `len` rows.
pub(super) fn copies(start: u32, end: u32, at: u32, len: usize) -> Copies {
    Copies {
        start: start as usize,
        end: end as usize,
        at: at as usize,
        follows: at == end,
        last: end as usize == len,
    }
}

impl Copies {
    /// How many rows get copied.
    pub(super) fn cost(&self) -> u64 {
        match (self.follows, self.last) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => (self.end.saturating_sub(self.start) as u64).saturating_add(1),
        }
    }

    /// Copies what must be copied and gives the new range.
    pub(super) fn apply<T: Clone>(&self, rows: &mut Vec<T>) -> (u32, u32) {
        if self.follows {
            return (self.start as u32, self.end as u32 + 1);
        }
        let mut start = self.start;
        if !self.last {
            let own = rows.get(self.start..self.end).unwrap_or(&[]).to_vec();
            start = rows.len();
            rows.extend(own);
        }
        let copy = rows.get(self.at).cloned();
        rows.extend(copy);
        (start as u32, rows.len() as u32)
    }
}
