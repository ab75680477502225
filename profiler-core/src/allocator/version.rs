//! Which allocator wrote a trace: PyTorch's CUDA one by version, or one of its relatives.

use std::fmt;
use std::str::FromStr;

use crate::snapshot::{FormatFeatures, SegmentKind, Segments};

/// A PyTorch release, as far as the allocator's rules depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorchVersion {
    /// 2 in 2.15.
    pub major: u16,
    /// 15 in 2.15.
    pub minor: u16,
}

impl TorchVersion {
    /// The newest release whose rules are known here.
    pub const NEWEST: Self = Self::new(2, 15);

    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The oldest release that writes all the keys a file has
    /// ([`FormatFeatures::torch_format`]): a lower bound, since a snapshot holds no version.
    #[must_use]
    pub fn at_least(features: &FormatFeatures) -> Self {
        features
            .torch_format()
            .trim_end_matches('+')
            .parse()
            .unwrap_or(Self::new(2, 0))
    }

    /// Whether settings strings are read by `ConfigTokenizer` (`c10/core/AllocatorConfig.h`),
    /// which looks at separators but does not insist on them.
    #[must_use]
    pub fn has_lenient_separators(self) -> bool {
        self >= Self::new(2, 9)
    }

    /// Whether `max_split_size_mb` may equal the large segment size (2.9), or has to exceed it.
    #[must_use]
    pub fn allows_smallest_split_size(self) -> bool {
        self >= Self::new(2, 9)
    }

    /// Whether `set_per_process_memory_fraction(1.0)` sets a limit (the device's memory), with
    /// what follows from having one; from 2.10 on it sets none.
    #[must_use]
    pub fn limits_at_one(self) -> bool {
        self < Self::new(2, 10)
    }

    /// What decides between free blocks of equal size (`BlockComparatorSize`). 2.11.0 on an H200
    /// went by the address (ten recordings, each reproduced by that rule alone), 2.15.0 on the
    /// simulated device by the age; which of the releases between was the first is not known.
    #[must_use]
    pub fn tie_break(self) -> TieBreak {
        if self >= Self::new(2, 12) {
            TieBreak::SegmentAge
        } else {
            TieBreak::Address
        }
    }

    /// Whether `large_segment_size_mb` exists and a new settings string resets
    /// `max_non_split_rounding` to it (2.11).
    #[must_use]
    pub fn has_large_segment_size(self) -> bool {
        self >= Self::new(2, 11)
    }
}

impl fmt::Display for TorchVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is not a PyTorch version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a PyTorch version such as \"2.15\" or \"2.6.0+cu124\", found {found:?}")]
pub struct VersionError {
    /// The text.
    pub found: String,
}

impl FromStr for TorchVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError {
            found: text.to_owned(),
        };
        let mut parts = text.trim().splitn(3, '.');
        let major = parts.next().and_then(|part| part.parse().ok());
        let minor = parts.next().and_then(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            part[..digits.unwrap_or(part.len())].parse().ok()
        });
        match (major, minor) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(error()),
        }
    }
}

/// What decides between free blocks of equal size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TieBreak {
    /// The lower address.
    #[default]
    Address,
    /// The segment made first (`registration_counter`), then the lower address. Differs
    /// from the address only once segments have been given back and their addresses used again.
    SegmentAge,
}

/// Rules that no setting changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How requests are rounded.
    pub dialect: Dialect,
    /// What decides between free blocks of equal size.
    pub tie_break: TieBreak,
}

impl Rules {
    /// PyTorch's CUDA allocator of `version`.
    #[must_use]
    pub fn cuda(version: TorchVersion) -> Self {
        Self {
            dialect: Dialect::Cuda,
            tie_break: version.tie_break(),
        }
    }
}

/// A family of allocators with the same size rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `c10/cuda/CUDACachingAllocator.cpp`.
    #[default]
    Cuda,
    /// torch_npu (`torch_npu/csrc/core/npu/NPUCachingAllocator.cpp`): every request is padded by
    /// 32 bytes before it is rounded (`AddPadSize`), and with expandable segments requests of
    /// 2 MiB and more start at multiples of 16 KiB where they can (`base_addr_aligned_kb`).
    Npu,
}

impl Dialect {
    /// Bytes added to every request before rounding.
    #[must_use]
    pub const fn padding(self) -> u64 {
        match self {
            Self::Cuda => 0,
            Self::Npu => 32,
        }
    }

    /// What the addresses of large requests in expandable segments are multiples of
    /// (`kAlignRoundLarge`, the default of `base_addr_aligned_kb`).
    #[must_use]
    pub const fn large_alignment(self) -> u64 {
        match self {
            Self::Cuda => 1,
            Self::Npu => 16 << 10,
        }
    }

    /// The one of the two that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Cuda => Self::Npu,
            Self::Npu => Self::Cuda,
        }
    }

    /// The name shown to people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::Npu => "torch_npu",
        }
    }

    /// The dialect that explains the final block sizes.
    ///
    /// Live blocks of small segments are never larger than their rounded request, so a request
    /// of a whole number of 512 bytes tells the two apart: torch_npu's padding pushes it into
    /// the next step. Files without such a block read as CUDA.
    #[must_use]
    pub fn detect(segments: &Segments) -> Self {
        let mut padded = 0_u64;
        for segment in segments.all() {
            if segment.kind != SegmentKind::Small {
                continue;
            }
            for block in segments.blocks(segment) {
                let whole = block.requested_size > 0 && block.requested_size % 512 == 0;
                if !block.state.is_active() || !whole {
                    continue;
                }
                if block.size == block.requested_size {
                    return Self::Cuda;
                }
                if block.size == block.requested_size.saturating_add(512) {
                    padded += 1;
                }
            }
        }
        if padded > 0 { Self::Npu } else { Self::Cuda }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_their_suffixes() {
        assert_eq!("2.15.0+cu132".parse(), Ok(TorchVersion::new(2, 15)));
        assert_eq!("2.6".parse(), Ok(TorchVersion::new(2, 6)));
        assert_eq!("2.9a0".parse(), Ok(TorchVersion::new(2, 9)));
        assert!("nightly".parse::<TorchVersion>().is_err());
        assert!(TorchVersion::new(2, 9) < TorchVersion::new(2, 15));
    }
}
