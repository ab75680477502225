//! Numbers as the page's JSON has them.

/// The largest integer JavaScript reads exactly; larger ones, which only a forged file has, are
/// shown as this.
const MAX_EXACT: u64 = 1 << 53;

/// `bytes` as a number JavaScript reads exactly.
pub(super) fn exact(bytes: u64) -> u64 {
    bytes.min(MAX_EXACT)
}

/// The first value, then the difference of each to the one before it.
pub(super) fn deltas(values: impl IntoIterator<Item = u64>) -> Vec<i64> {
    let mut before = 0_i64;
    let difference = |value: u64| {
        let value = exact(value) as i64;
        let delta = value - before;
        before = value;
        delta
    };
    values.into_iter().map(difference).collect()
}

/// Like [`deltas`], for values that can be negative.
pub(super) fn signed_deltas(values: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let limit = MAX_EXACT as i64;
    let mut before = 0_i64;
    let difference = |value: i64| {
        let value = value.clamp(-limit, limit);
        let delta = value - before;
        before = value;
        delta
    };
    values.into_iter().map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_deltas_are_the_values() {
        let values = [7, 7, 0, u64::MAX, 1 << 40];
        let sums: Vec<i64> = deltas(values)
            .iter()
            .scan(0, |sum, delta| {
                *sum += delta;
                Some(*sum)
            })
            .collect();
        assert_eq!(sums, [7, 7, 0, 1 << 53, 1 << 40]);
        assert_eq!(signed_deltas([-3, 4]), [-3, 7]);
    }
}
