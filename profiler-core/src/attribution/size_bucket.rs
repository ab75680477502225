//! Sizes in powers of two, for grouping.

/// The exponent of the largest power of two that is at most `bytes`; none for 0.
pub(crate) fn bucket(bytes: u64) -> Option<u32> {
    bytes.checked_ilog2()
}

/// The bucket as text: `512 KiB – 1 MiB`.
pub(crate) fn bucket_label(exponent: Option<u32>) -> String {
    match exponent {
        None => "0 B".to_owned(),
        Some(exponent) => format!("{} – {}", power_label(exponent), power_label(exponent + 1)),
    }
}

fn power_label(exponent: u32) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = UNITS.get(exponent as usize / 10).unwrap_or(&"EiB");
    format!("{} {unit}", 1_u64 << (exponent % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_half_open_powers_of_two() {
        assert_eq!(bucket(0), None);
        assert_eq!(bucket_label(bucket(1)), "1 B – 2 B");
        assert_eq!(bucket_label(bucket(1023)), "512 B – 1 KiB");
        assert_eq!(bucket_label(bucket(1024)), "1 KiB – 2 KiB");
        assert_eq!(bucket_label(bucket(1 << 20)), "1 MiB – 2 MiB");
        assert_eq!(bucket_label(bucket(u64::MAX)), "8 EiB – 16 EiB");
    }
}
