//! What device memory holds, as far as it is known: the bytes of small copies from the host, until
//! the next kernel.
//!
//! A kernel may write anywhere, and none is run, so with each one all is forgotten; what is not known
//! reads as zeros. That is enough for the exchanges that programs make before they compute, such as
//! the comparison of shapes between processes that data-parallel training starts with.

use std::collections::BTreeMap;

/// Copies longer than this are not kept.
pub(crate) const LONGEST: usize = 1 << 20;
/// Bytes kept in all; past it, all is forgotten.
const MOST: usize = 64 << 20;

/// Known ranges of device memory; no two overlap.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    ranges: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Contents {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.bytes = 0;
    }

    /// Forgets `[address, address + length)`; what lies on either side stays known.
    pub(crate) fn forget(&mut self, address: u64, length: usize) {
        let end = address.saturating_add(length as u64);
        let first = self
            .ranges
            .range(..address)
            .next_back()
            .map_or(address, |(&start, _)| start);
        let touched: Vec<u64> = self
            .ranges
            .range(first..end)
            .map(|(&start, _)| start)
            .collect();
        for start in touched {
            let Some(bytes) = self.ranges.remove(&start) else {
                continue;
            };
            self.bytes -= bytes.len();
            let stop = start + bytes.len() as u64;
            if start < address {
                self.keep(start, &bytes[..(address.min(stop) - start) as usize]);
            }
            if stop > end {
                self.keep(end.max(start), &bytes[(end.max(start) - start) as usize..]);
            }
        }
    }

    fn keep(&mut self, address: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.ranges.insert(address, bytes.to_vec());
        }
    }

    /// Notes that memory at an address now holds `bytes`.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        self.forget(address, bytes.len());
        if bytes.len() <= LONGEST {
            if self.bytes + bytes.len() > MOST {
                self.clear();
            }
            self.keep(address, bytes);
        }
    }

    /// The bytes at `[address, address + length)`: each known run with its offset from `address`.
    pub(crate) fn known(&self, address: u64, length: usize) -> Vec<(usize, Vec<u8>)> {
        let end = address.saturating_add(length as u64);
        let first = self
            .ranges
            .range(..address)
            .next_back()
            .map_or(address, |(&start, _)| start);
        self.ranges
            .range(first..end)
            .filter_map(|(&start, bytes)| {
                let stop = (start + bytes.len() as u64).min(end);
                let from = start.max(address);
                let run = bytes.get((from - start) as usize..stop.checked_sub(start)? as usize)?;
                (!run.is_empty()).then(|| ((from - address) as usize, run.to_vec()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random writes and forgets against an array of optional bytes.
    #[test]
    fn agrees_with_an_array() {
        const BASE: u64 = 0x7000_0000_0000;
        let mut contents = Contents::default();
        let mut array = [None; 64];
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..5000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (random >> 33) as usize % 60;
            let length = 1 + (random >> 45) as usize % (64 - at);
            let address = BASE + at as u64;
            if (random >> 57).is_multiple_of(2) {
                let bytes: Vec<u8> = (0..length).map(|i| (round as usize + i) as u8).collect();
                contents.write(address, &bytes);
                for (slot, byte) in array[at..].iter_mut().zip(bytes) {
                    *slot = Some(byte);
                }
            } else {
                contents.forget(address, length);
                array[at..at + length].fill(None);
            }
            let mut read = [None; 64];
            for (offset, run) in contents.known(BASE, 64) {
                for (slot, byte) in read[offset..].iter_mut().zip(run) {
                    assert_eq!(slot.replace(byte), None);
                }
            }
            assert_eq!(read, array);
            let part: usize = contents
                .known(address, length)
                .iter()
                .map(|(_, run)| run.len())
                .sum();
            assert_eq!(part, array[at..at + length].iter().flatten().count());
            assert_eq!(contents.bytes, array.iter().flatten().count());
        }
        contents.write(BASE, &vec![1; LONGEST + 1]);
        assert!(contents.known(BASE, 64).is_empty());
    }
}
