//! Numbers as the window's font can write them.

use profiler_core::units;

/// `number` in groups of three digits. The core parts the groups by a narrow space, which the
/// font that egui brings does not have; here they are parted by a no-break space, which it has.
#[must_use]
pub fn count(number: u64) -> String {
    plain(&units::count(number))
}

/// `text` of the core with its narrow spaces replaced.
#[must_use]
pub fn plain(text: &str) -> String {
    text.replace('\u{202f}', "\u{a0}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_parted_by_a_space_of_the_font() {
        assert_eq!(super::count(1_234_567), "1\u{a0}234\u{a0}567");
    }
}
