//! The allocator's settings, and `PYTORCH_ALLOC_CONF` read the way PyTorch reads it.
//!
//! Sources: `c10/cuda/CUDAAllocatorConfig.cpp` of PyTorch 2.6, `c10/core/AllocatorConfig.{h,cpp}`
//! and `c10/cuda/CUDAAllocatorConfig.cpp` of 2.9 to 2.15.

use super::conf::{self, ConfError};
use super::version::TorchVersion;
use crate::snapshot::AllocatorSettings;

/// One MiB in bytes.
pub const MIB: u64 = 1 << 20;

/// How many intervals `roundup_power2_divisions` has: 1 MiB, 2 MiB, … 32 GiB
/// (`kRoundUpPowerOfTwoIntervals`).
pub const ROUNDUP_INTERVALS: usize = 16;

/// What "no limit" is for [`Settings::max_split_size`].
pub const UNLIMITED: u64 = u64::MAX;

/// Settings that decide where blocks go.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Bytes; free blocks this large or larger are not split, and serve only requests of about
    /// their size. [`UNLIMITED`] by default.
    pub max_split_size: u64,
    /// Bytes by which a block of at least [`Self::max_split_size`] may exceed the request it
    /// serves.
    pub max_non_split_rounding: u64,
    /// Bytes of a segment for requests between 1 and 10 MiB, and of a page of a large expandable
    /// segment (`kLargeBuffer` before 2.11).
    pub large_segment_size: u64,
    /// Steps per power of two that requests are rounded to, by interval; 0 is off.
    pub roundup_power2_divisions: [u64; ROUNDUP_INTERVALS],
    /// Share of the memory limit above which cached segments are given back before a new one is
    /// taken; 0 is off. Works only with a limit.
    pub garbage_collection_threshold: f64,
    /// Whether new memory comes from growing segments.
    pub expandable_segments: bool,
    /// The limit as a share of the device's memory (2.10); 1 is none.
    pub per_process_memory_fraction: f64,
    /// Fail at the limit without trying to release memory first (2.12).
    pub throw_on_cudamalloc_oom: bool,
    /// `backend:cudaMallocAsync`: there is no caching allocator to model.
    pub is_malloc_async: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_split_size: UNLIMITED,
            max_non_split_rounding: 20 * MIB,
            large_segment_size: 20 * MIB,
            roundup_power2_divisions: [0; ROUNDUP_INTERVALS],
            garbage_collection_threshold: 0.0,
            expandable_segments: false,
            per_process_memory_fraction: 1.0,
            throw_on_cudamalloc_oom: false,
            is_malloc_async: false,
        }
    }
}

impl Settings {
    /// The settings a process has that starts with `conf` in its environment.
    ///
    /// # Errors
    /// When PyTorch of that version would refuse the string.
    pub fn from_conf(conf: &str, version: TorchVersion) -> Result<Self, ConfError> {
        let mut settings = Self::default();
        settings.apply(conf, version)?;
        Ok(settings)
    }

    /// Does what PyTorch does with a settings string, from the environment or passed at run
    /// time: `max_split_size`, the divisions and the collection threshold go back to their
    /// defaults first, everything else keeps its value until named.
    ///
    /// # Errors
    /// When PyTorch of that version would refuse the string. `self` is then unchanged (PyTorch
    /// keeps what came before the fault; a process that ignores the exception is not modelled).
    pub fn apply(&mut self, conf: &str, version: TorchVersion) -> Result<(), ConfError> {
        *self = conf::parse(self, conf, version)?;
        Ok(())
    }

    /// The settings in force when a snapshot was taken.
    ///
    /// The decoded keys count; the string only fills in what they do not hold
    /// (`large_segment_size`, `max_non_split_rounding`, the memory fraction), and is left aside
    /// if it does not read.
    #[must_use]
    pub fn recorded(recorded: &AllocatorSettings, version: TorchVersion) -> Self {
        let newest = TorchVersion::NEWEST;
        let mut settings = Self::from_conf(&recorded.conf, version)
            .or_else(|_| Self::from_conf(&recorded.conf, newest))
            .unwrap_or_default();
        settings.max_split_size = recorded.max_split_size.unwrap_or(UNLIMITED);
        settings.garbage_collection_threshold = recorded.garbage_collection_threshold;
        if let Some(expandable) = recorded.expandable_segments {
            settings.expandable_segments = expandable;
        }
        if !recorded.roundup_power2_divisions.is_empty() {
            settings.roundup_power2_divisions = [0; ROUNDUP_INTERVALS];
            for &(start_mib, divisions) in &recorded.roundup_power2_divisions {
                if let Some(slot) = settings
                    .roundup_power2_divisions
                    .get_mut(interval_of_mib(start_mib))
                {
                    *slot = divisions;
                }
            }
        }
        settings
    }
}

/// The interval that starts at `mib` MiB, the last one for everything above.
#[must_use]
pub(super) fn interval_of_mib(mib: u64) -> usize {
    (mib.max(1).ilog2() as usize).min(ROUNDUP_INTERVALS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_keys_outrank_the_string() {
        let recorded = AllocatorSettings {
            conf: "large_segment_size_mb:64".into(),
            max_split_size: Some(64 * MIB),
            expandable_segments: Some(true),
            roundup_power2_divisions: vec![(1, 8), (64, 4)],
            ..AllocatorSettings::default()
        };
        let settings = Settings::recorded(&recorded, TorchVersion::new(2, 9));
        assert_eq!(settings.large_segment_size, 64 * MIB);
        assert_eq!(settings.max_split_size, 64 * MIB);
        assert!(settings.expandable_segments);
        assert_eq!(settings.roundup_power2_divisions[0], 8);
        assert_eq!(settings.roundup_power2_divisions[6], 4);
        assert_eq!(settings.roundup_power2_divisions[7], 0);
    }

    #[test]
    fn a_new_string_resets_only_some_settings() {
        let version = TorchVersion::NEWEST;
        let mut settings =
            Settings::from_conf("expandable_segments:True,max_split_size_mb:64", version).unwrap();
        settings
            .apply("roundup_power2_divisions:4", version)
            .unwrap();
        assert!(settings.expandable_segments);
        assert_eq!(settings.max_split_size, UNLIMITED);
        assert_eq!(settings.roundup_power2_divisions, [4; ROUNDUP_INTERVALS]);
    }
}
