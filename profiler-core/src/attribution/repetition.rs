//! The longest stretch of a sequence that repeats exactly.
//!
//! A stretch repeats with period `p` if each of its elements equals the one `p` before it. For one
//! `p` the longest such stretch is found in one pass. Which `p` to try is read from the distances
//! between equal elements: what comes once or twice in each round gives the period itself. The
//! distances that account for most of the sequence are tried, a fixed number of them, so the whole
//! takes linear time. A claim is exact; that no repetition is missed is not promised.

use std::cmp::Reverse;

/// A stretch `start..end` with period `period`, at least [`MIN_ROUNDS`] times in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repetition {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) period: usize,
}

/// Fewer rounds than this may be chance.
pub(crate) const MIN_ROUNDS: usize = 3;

/// How many distances are tried.
const MAX_CANDIDATES: usize = 32;

/// Repetitions of `symbols` (numbers below `kinds`), the longest first, of equals that with the
/// smaller period; for each period tried its longest stretch only.
pub(crate) fn repetitions(symbols: &[u32], kinds: usize) -> Vec<Repetition> {
    let mut found: Vec<Repetition> = candidates(symbols, kinds)
        .into_iter()
        .filter_map(|period| longest_with(symbols, period))
        .collect();
    found.sort_unstable_by_key(|r| (Reverse(r.end - r.start), r.period, r.start));
    found
}

/// The distances to the last and the last but one equal element that account for most elements.
fn candidates(symbols: &[u32], kinds: usize) -> Vec<usize> {
    let longest = symbols.len() / MIN_ROUNDS;
    let mut votes = vec![0_u32; longest + 1];
    let mut last: Vec<[Option<usize>; 2]> = vec![[None; 2]; kinds];
    for (at, &symbol) in symbols.iter().enumerate() {
        let Some(last) = last.get_mut(symbol as usize) else {
            continue;
        };
        for before in last.iter().flatten() {
            if let Some(votes) = votes.get_mut(at - before) {
                *votes += 1;
            }
        }
        *last = [Some(at), last[0]];
    }
    let weigh = |(distance, votes): (usize, &u32)| (distance as u64 * u64::from(*votes), distance);
    let mut weighed: Vec<(u64, usize)> = votes.iter().enumerate().map(weigh).collect();
    weighed.retain(|(weight, _)| *weight > 0);
    weighed.sort_unstable_by_key(|&(weight, distance)| (Reverse(weight), distance));
    weighed.truncate(MAX_CANDIDATES);
    weighed.into_iter().map(|(_, distance)| distance).collect()
}

/// The longest stretch with `period`, the first of equals.
fn longest_with(symbols: &[u32], period: usize) -> Option<Repetition> {
    let mut best = 0..0;
    let mut start = 0;
    let later = symbols.get(period..)?;
    for (at, (before, after)) in symbols.iter().zip(later).enumerate() {
        if before != after {
            start = at + 1;
        } else if at + 1 - start > best.len() {
            best = start..at + 1;
        }
    }
    (best.len() >= period.checked_mul(MIN_ROUNDS - 1)? && period > 0).then(|| Repetition {
        start: best.start,
        end: best.end + period,
        period,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The longest repetition, by trying every period at every place.
    fn naive(symbols: &[u32]) -> Option<Repetition> {
        let mut best: Option<Repetition> = None;
        for period in 1..=symbols.len() / MIN_ROUNDS {
            for start in 0..symbols.len() {
                let mut end = start + period;
                while end < symbols.len() && symbols[end] == symbols[end - period] {
                    end += 1;
                }
                let longer = best.is_none_or(|best| end - start > best.end - best.start);
                if end <= symbols.len() && end - start >= MIN_ROUNDS * period && longer {
                    best = Some(Repetition { start, end, period });
                }
            }
        }
        best
    }

    proptest! {
        #[test]
        fn a_planted_loop_is_found_as_the_naive_search_finds_it(
            before in prop::collection::vec(0_u32..6, 0..20),
            inner in prop::collection::vec(0_u32..6, 0..8),
            blocks in 1_usize..6,
            rounds in MIN_ROUNDS..7,
            after in prop::collection::vec(0_u32..6, 0..20),
        ) {
            // A round begins with something that comes once in it.
            let mut round = vec![6];
            round.extend(inner.repeat(blocks));
            round.push(7);
            let symbols = [before, round.repeat(rounds), after].concat();
            let found = repetitions(&symbols, 8).first().copied();
            prop_assert_eq!(found, naive(&symbols));
        }

        #[test]
        fn what_is_claimed_repeats_and_is_never_longer_than_the_longest(
            symbols in prop::collection::vec(0_u32..3, 0..60),
        ) {
            let longest = naive(&symbols).map_or(0, |r| r.end - r.start);
            for found in repetitions(&symbols, 3) {
                prop_assert!(found.end <= symbols.len());
                prop_assert!(found.end - found.start >= MIN_ROUNDS * found.period);
                prop_assert!(found.end - found.start <= longest);
                for at in found.start + found.period..found.end {
                    prop_assert_eq!(symbols[at], symbols[at - found.period]);
                }
            }
        }
    }

    #[test]
    fn two_rounds_are_not_enough() {
        assert_eq!(repetitions(&[0, 1, 2, 0, 1, 2], 3), []);
        assert_eq!(repetitions(&[], 0), []);
        assert_eq!(repetitions(&[5, 5, 5], 0), []);
    }
}
