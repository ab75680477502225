//! Device addresses: ranges of a reserved window, handed out first-fit.
//!
//! The window is address space that no host allocation can land in, so a pointer says by its value
//! whether it is the device's. Nothing is behind it: a host access faults, as on a real machine.

use std::collections::BTreeMap;

/// The driver's allocation granularity: the caching allocator asks for multiples of it, and
/// `cuMemGetAllocationGranularity` answers it on every GPU since Volta.
pub(crate) const GRANULARITY: u64 = 2 << 20;

/// A window of device addresses.
#[derive(Debug)]
pub(crate) struct Window {
    /// Free ranges, start → length; never adjacent.
    free: BTreeMap<u64, u64>,
    /// Handed-out ranges, start → length.
    taken: BTreeMap<u64, u64>,
}

impl Window {
    /// A window over `[base, base + length)`, all free.
    pub(crate) fn new(base: u64, length: u64) -> Self {
        Self {
            free: BTreeMap::from([(base, length)]),
            taken: BTreeMap::new(),
        }
    }

    /// Takes the lowest free range that fits `length` rounded up to the granularity.
    pub(crate) fn take(&mut self, length: u64) -> Option<u64> {
        let length = rounded(length)?;
        let (&start, &room) = self.free.iter().find(|&(_, &room)| room >= length)?;
        self.free.remove(&start);
        if room > length {
            self.free.insert(start + length, room - length);
        }
        self.taken.insert(start, length);
        Some(start)
    }

    /// Gives back the range that starts at `address`; its length, or `None` when none does.
    pub(crate) fn give_back(&mut self, address: u64) -> Option<u64> {
        let length = self.taken.remove(&address)?;
        let mut start = address;
        let mut room = length;
        if let Some((&before, &before_room)) = self.free.range(..address).next_back()
            && before + before_room == address
        {
            self.free.remove(&before);
            start = before;
            room += before_room;
        }
        if let Some(after_room) = self.free.remove(&(address + length)) {
            room += after_room;
        }
        self.free.insert(start, room);
        Some(length)
    }

    /// The handed-out range that holds `address`: start and length.
    pub(crate) fn range_of(&self, address: u64) -> Option<(u64, u64)> {
        let (&start, &length) = self.taken.range(..=address).next_back()?;
        (address - start < length).then_some((start, length))
    }
}

/// `length` rounded up to the granularity; at least one unit.
pub(crate) fn rounded(length: u64) -> Option<u64> {
    length.max(1).checked_next_multiple_of(GRANULARITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x7000_0000_0000;

    #[test]
    fn lowest_fit_and_coalescing() {
        let mut window = Window::new(BASE, 16 * GRANULARITY);
        let a = window.take(1).expect("room");
        let b = window.take(3 * GRANULARITY).expect("room");
        let c = window.take(GRANULARITY).expect("room");
        assert_eq!(
            (a, b, c),
            (BASE, BASE + GRANULARITY, BASE + 4 * GRANULARITY)
        );
        assert_eq!(window.range_of(b + 5), Some((b, 3 * GRANULARITY)));
        assert_eq!(window.give_back(a), Some(GRANULARITY));
        assert_eq!(window.give_back(a), None);
        assert_eq!(window.range_of(a), None);
        assert_eq!(window.give_back(b), Some(3 * GRANULARITY));
        // The two freed ranges are one again.
        assert_eq!(window.take(4 * GRANULARITY), Some(BASE));
        assert_eq!(window.take(12 * GRANULARITY), None);
        assert_eq!(window.take(11 * GRANULARITY), Some(c + GRANULARITY));
    }

    /// Random takes and give-backs against a bitmap of units: what is handed out never overlaps, is
    /// the lowest possible, and is found again by any address in it.
    #[test]
    fn agrees_with_a_bitmap() {
        const UNITS: usize = 64;
        let mut window = Window::new(BASE, UNITS as u64 * GRANULARITY);
        let mut bitmap = [false; UNITS];
        let mut held: Vec<(u64, usize)> = Vec::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..5000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = (random >> 33) as usize;
            if pick.is_multiple_of(2) || held.is_empty() {
                let units = 1 + pick / 2 % 9;
                let expected = (0..=UNITS - units)
                    .find(|&at| bitmap[at..at + units].iter().all(|taken| !taken))
                    .map(|at| BASE + at as u64 * GRANULARITY);
                let got = window.take(units as u64 * GRANULARITY - 1);
                assert_eq!(got, expected);
                if let Some(start) = got {
                    let at = ((start - BASE) / GRANULARITY) as usize;
                    bitmap[at..at + units].fill(true);
                    held.push((start, units));
                }
            } else {
                let (start, units) = held.swap_remove(pick % held.len());
                let length = units as u64 * GRANULARITY;
                assert_eq!(window.range_of(start + length - 1), Some((start, length)));
                assert_eq!(window.give_back(start), Some(length));
                let at = ((start - BASE) / GRANULARITY) as usize;
                bitmap[at..at + units].fill(false);
            }
        }
    }
}
