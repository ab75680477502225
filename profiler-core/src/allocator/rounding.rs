//! How sizes are rounded and which pool they belong to (`round_size`, `get_pool`,
//! `get_allocation_size` and `should_split` of `c10/cuda/CUDACachingAllocator.cpp`).

use super::settings::{MIB, ROUNDUP_INTERVALS, Settings};
use super::version::{Dialect, TorchVersion};
use crate::snapshot::{SegmentKind, Snapshot};

/// All sizes are rounded to at least this (`kMinBlockSize`).
pub const MIN_BLOCK_SIZE: u64 = 512;
/// The largest rounded request that lives in a small segment (`kSmallSize`).
pub const SMALL_SIZE: u64 = MIB;
/// A small segment, or a page of a small expandable one (`kSmallBuffer`).
pub const SMALL_SEGMENT_SIZE: u64 = 2 * MIB;
/// From this rounded size on a request gets a segment of its own size (`kMinLargeAlloc`).
pub const MIN_OWN_SEGMENT: u64 = 10 * MIB;
/// What own segments are rounded up to (`kRoundLarge`).
pub const OWN_SEGMENT_STEP: u64 = 2 * MIB;

/// The size rules under given settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeRules {
    padding: u64,
    divisions: [u64; ROUNDUP_INTERVALS],
    max_split_size: u64,
    large_segment_size: u64,
    expandable: bool,
    alignment: u64,
}

impl SizeRules {
    /// The rules of `dialect` under `settings`.
    #[must_use]
    pub fn new(dialect: Dialect, settings: &Settings) -> Self {
        Self {
            padding: dialect.padding(),
            divisions: settings.roundup_power2_divisions,
            max_split_size: settings.max_split_size,
            large_segment_size: settings.large_segment_size,
            expandable: settings.expandable_segments,
            alignment: if settings.expandable_segments {
                dialect.large_alignment()
            } else {
                1
            },
        }
    }

    /// The rules a snapshot was recorded under, as far as it says: its settings, or the defaults
    /// if it has none, and the dialect its final blocks show.
    #[must_use]
    pub fn recorded(snapshot: &Snapshot) -> Self {
        let version = TorchVersion::at_least(&snapshot.features);
        let mut settings = snapshot
            .settings
            .as_ref()
            .map_or_else(Settings::default, |s| Settings::recorded(s, version));
        if snapshot.settings.is_none() {
            let mut segments = snapshot.segments.all().iter();
            settings.expandable_segments = segments.any(|segment| segment.is_expandable);
        }
        Self::new(Dialect::detect(&snapshot.segments), &settings)
    }

    /// The block size a request of `requested` bytes asks for (`round_size`).
    #[inline]
    #[must_use]
    pub fn round_size(&self, requested: u64) -> u64 {
        let size = requested.saturating_add(self.padding);
        if size < MIN_BLOCK_SIZE {
            return MIN_BLOCK_SIZE;
        }
        let interval = (size.ilog2() as usize)
            .saturating_sub(MIB.ilog2() as usize)
            .min(ROUNDUP_INTERVALS - 1);
        let divisions = self.divisions.get(interval).copied().unwrap_or(0);
        if divisions > 1 && size > MIN_BLOCK_SIZE.saturating_mul(divisions) {
            round_to_division(size, divisions)
        } else {
            size.checked_next_multiple_of(MIN_BLOCK_SIZE)
                .unwrap_or(u64::MAX - (MIN_BLOCK_SIZE - 1))
        }
    }

    /// The pool a block of `rounded` bytes belongs to (`get_pool`).
    #[inline]
    #[must_use]
    pub fn kind(&self, rounded: u64) -> SegmentKind {
        if rounded <= SMALL_SIZE {
            SegmentKind::Small
        } else {
            SegmentKind::Large
        }
    }

    /// The bytes taken from the driver for a request of `rounded` bytes when no free block fits
    /// and segments are not expandable (`get_allocation_size`).
    #[inline]
    #[must_use]
    pub fn segment_size(&self, rounded: u64) -> u64 {
        if rounded <= SMALL_SIZE {
            SMALL_SEGMENT_SIZE
        } else if rounded < MIN_OWN_SEGMENT {
            self.large_segment_size
        } else {
            rounded
                .checked_next_multiple_of(OWN_SEGMENT_STEP)
                .unwrap_or(u64::MAX - (OWN_SEGMENT_STEP - 1))
        }
    }

    /// The bytes of a page of an expandable segment.
    #[inline]
    #[must_use]
    pub fn page_size(&self, kind: SegmentKind) -> u64 {
        match kind {
            SegmentKind::Small => SMALL_SEGMENT_SIZE,
            SegmentKind::Large => self.large_segment_size,
        }
    }

    /// How many bytes a free block at `address`, `size` bytes long, keeps at its front so that a
    /// request of `rounded` bytes starts aligned: 0 where it does already, where nothing asks for
    /// it, and where the block is too small for it (torch_npu's `malloc`; never in CUDA's).
    #[inline]
    #[must_use]
    pub fn front(&self, address: u64, size: u64, rounded: u64) -> u64 {
        if self.alignment <= 1 || rounded < OWN_SEGMENT_STEP {
            return 0;
        }
        let front = address
            .checked_next_multiple_of(self.alignment)
            .map_or(0, |aligned| aligned - address);
        if front.saturating_add(rounded) <= size {
            front
        } else {
            0
        }
    }

    /// Whether a free block of `block_size` bytes that serves a request of `rounded` bytes gives
    /// its remainder back (`should_split`).
    ///
    /// Without a split the whole block is handed out: its excess is *slack*, up to 1 MiB, or up
    /// to `max_non_split_rounding` for blocks of at least `max_split_size`. With expandable
    /// segments on, every pool splits down to 512 bytes.
    #[inline]
    #[must_use]
    pub fn should_split(&self, kind: SegmentKind, block_size: u64, rounded: u64) -> bool {
        let remaining = block_size.saturating_sub(rounded);
        if kind == SegmentKind::Small || self.expandable {
            remaining >= MIN_BLOCK_SIZE
        } else {
            rounded < self.max_split_size && remaining > SMALL_SIZE
        }
    }
}

/// Rounds up to one of `divisions` equal steps between powers of two
/// (`roundup_power2_next_division`). `divisions` is at least 2.
fn round_to_division(size: u64, divisions: u64) -> u64 {
    if size.is_power_of_two() {
        return size;
    }
    let floor = 1_u64 << size.ilog2();
    let step = floor >> divisions.ilog2();
    if step == 0 {
        return floor.saturating_mul(2);
    }
    size.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(conf: &str) -> SizeRules {
        let settings = Settings::from_conf(conf, TorchVersion::NEWEST).unwrap();
        SizeRules::new(Dialect::Cuda, &settings)
    }

    #[test]
    fn requests_are_rounded_to_512_bytes() {
        let rules = rules("");
        for (requested, rounded) in [(0, 512), (1, 512), (512, 512), (513, 1024), (1200, 1536)] {
            assert_eq!(rules.round_size(requested), rounded, "{requested}");
        }
        assert!(rules.round_size(u64::MAX) >= u64::MAX - 511);
    }

    #[test]
    fn torch_npu_pads_by_32_bytes() {
        let rules = SizeRules::new(Dialect::Npu, &Settings::default());
        assert_eq!(rules.round_size(480), 512);
        assert_eq!(rules.round_size(481), 1024);
        assert_eq!(rules.round_size(512), 1024);
    }

    #[test]
    fn torch_npu_aligns_large_blocks_of_expandable_segments() {
        let settings = Settings {
            expandable_segments: true,
            ..Settings::default()
        };
        let npu = SizeRules::new(Dialect::Npu, &settings);
        assert_eq!(npu.front(0x4_0400, 20 * MIB, 2 * MIB), 0x3c00);
        assert_eq!(npu.front(0x4_4000, 20 * MIB, 2 * MIB), 0);
        // Smaller requests, blocks without room for it, and other rules leave it.
        assert_eq!(npu.front(0x4_0400, 20 * MIB, 2 * MIB - 512), 0);
        assert_eq!(npu.front(0x4_0400, 2 * MIB + 0x3bff, 2 * MIB), 0);
        let plain = SizeRules::new(Dialect::Npu, &Settings::default());
        assert_eq!(plain.front(0x4_0400, 20 * MIB, 2 * MIB), 0);
        let cuda = SizeRules::new(Dialect::Cuda, &settings);
        assert_eq!(cuda.front(0x4_0400, 20 * MIB, 2 * MIB), 0);
    }

    #[test]
    fn divisions_round_between_powers_of_two() {
        // The example in the comment of roundup_power2_next_division, in KiB: 1200 with four
        // divisions lies between 1024 and 2048, steps of 256.
        let rules = rules("roundup_power2_divisions:4");
        assert_eq!(rules.round_size(1200 << 10), 1280 << 10);
        assert_eq!(rules.round_size(1280 << 10), 1280 << 10);
        assert_eq!(rules.round_size(1 << 20), 1 << 20);
        // Up to 512 bytes per division plain rounding stays.
        assert_eq!(rules.round_size(2000), 2048);
        assert_eq!(rules.round_size(2049), 2560);
    }

    #[test]
    fn pools_and_segments_follow_the_rounded_size() {
        let rules = rules("");
        assert_eq!(rules.kind(MIB), SegmentKind::Small);
        assert_eq!(rules.kind(MIB + 512), SegmentKind::Large);
        assert_eq!(rules.segment_size(512), 2 * MIB);
        assert_eq!(rules.segment_size(MIB + 512), 20 * MIB);
        assert_eq!(rules.segment_size(10 * MIB - 512), 20 * MIB);
        assert_eq!(rules.segment_size(10 * MIB), 10 * MIB);
        assert_eq!(rules.segment_size(10 * MIB + 512), 12 * MIB);
        let wide = self::rules("large_segment_size_mb:64");
        assert_eq!(wide.segment_size(2 * MIB), 64 * MIB);
        assert_eq!(wide.page_size(SegmentKind::Large), 64 * MIB);
        assert_eq!(wide.page_size(SegmentKind::Small), 2 * MIB);
    }

    #[test]
    fn only_large_blocks_keep_slack() {
        let plain = rules("");
        assert!(plain.should_split(SegmentKind::Small, 1024, 512));
        assert!(!plain.should_split(SegmentKind::Large, 3 * MIB, 2 * MIB));
        assert!(plain.should_split(SegmentKind::Large, 3 * MIB + 512, 2 * MIB));
        let limited = rules("max_split_size_mb:64");
        assert!(!limited.should_split(SegmentKind::Large, 84 * MIB, 64 * MIB));
        let expandable = rules("expandable_segments:True");
        assert!(expandable.should_split(SegmentKind::Large, 3 * MIB, 2 * MIB));
    }
}
