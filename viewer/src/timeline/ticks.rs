//! Where the labels of an axis stand.

use profiler_core::units;

use crate::prepare::AxisKind;

/// The step between labels for a stretch of `span` on `pixels`, at least `apart` pixels each:
/// 1, 2 or 5 times a power of ten.
#[must_use]
pub fn decimal_step(span: f64, pixels: f64, apart: f64) -> f64 {
    let least = (span * apart / pixels.max(1.0)).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * power)
        .find(|&step| step >= least)
        .unwrap_or(least)
}

/// The same in powers of two, for bytes.
#[must_use]
pub fn binary_step(span: f64, pixels: f64, apart: f64) -> f64 {
    let least = (span * apart / pixels.max(1.0)).max(1.0);
    2_f64.powf(least.log2().ceil())
}

/// The multiples of `step` in `from..=to`, at most 200.
pub fn marks(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (from / step).ceil();
    (0..200)
        .map(move |n| (first + f64::from(n)) * step)
        .take_while(move |&at| at <= to)
}

/// `bytes` as short as the step allows: `12 GiB`, `1.5 MiB`.
#[must_use]
pub fn bytes_label(bytes: f64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let size = (1_u64 << shift) as f64;
        if bytes >= size {
            let text = format!("{:.3}", bytes / size);
            return format!(
                "{} {unit}",
                text.trim_end_matches('0').trim_end_matches('.')
            );
        }
    }
    format!("{bytes:.0} B")
}

/// `position` on an axis of `kind`.
#[must_use]
pub fn time_label(kind: AxisKind, position: f64) -> String {
    let whole = position.max(0.0) as u64;
    match kind {
        AxisKind::Events => units::count(whole),
        AxisKind::Clock if whole == 0 => "0".to_owned(),
        AxisKind::Clock => units::duration_us(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_far_enough_apart() {
        assert_eq!(decimal_step(1000.0, 1000.0, 90.0), 100.0);
        assert_eq!(decimal_step(3.0, 1000.0, 90.0), 0.5);
        assert_eq!(binary_step(1_000_000.0, 500.0, 40.0), 131_072.0);
        assert_eq!(marks(0.5, 3.0, 1.0).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert_eq!(bytes_label(1_572_864.0), "1.5 MiB");
        assert_eq!(bytes_label(0.0), "0 B");
    }
}
