//! Why an allocation failed.

use serde::Serialize;

use super::OomEvidence;

/// The class of a failure.
///
/// The kinds of fragmentation are those of the torchrec fragmentation study (torchrec #4584,
/// "hard", "soft" and "stream" fragmentation), named by what one sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OomClass {
    /// What is in use leaves too little, however it is arranged.
    Capacity,
    /// The request alone is larger than all memory PyTorch could have.
    RequestTooBig,
    /// A segment has enough free bytes for the request, but live blocks lie between them.
    FragmentationInterleaved,
    /// There are enough free bytes, but no single segment has them.
    FragmentationSpread,
    /// There is enough free memory, but it belongs to another stream: one gap there would have
    /// held the request, or it takes that stream's bytes to make up enough.
    FragmentationOtherStream,
    /// There is enough free memory, but it belongs to another memory pool or size class, likewise.
    FragmentationOtherPool,
    /// Memory that PyTorch does not manage is what was missing.
    OutsidePyTorch,
    /// The driver had enough, so a limit was in the way: a memory fraction, or a driver that
    /// could not place it.
    Limit,
}

impl OomClass {
    /// In a few words, for headings.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Capacity => "capacity: the memory in use leaves too little",
            Self::RequestTooBig => "a single request larger than the memory there is",
            Self::FragmentationInterleaved => {
                "fragmentation: live blocks lie between the free bytes"
            }
            Self::FragmentationSpread => "fragmentation: the free bytes are spread over segments",
            Self::FragmentationOtherStream => {
                "fragmentation: the free bytes belong to another stream"
            }
            Self::FragmentationOtherPool => {
                "fragmentation: the free bytes belong to another pool or size class"
            }
            Self::OutsidePyTorch => "memory outside PyTorch",
            Self::Limit => "a limit: the driver had enough free memory",
        }
    }

    /// Whether the failure was about the arrangement of free memory.
    #[must_use]
    pub const fn is_fragmentation(self) -> bool {
        matches!(
            self,
            Self::FragmentationInterleaved
                | Self::FragmentationSpread
                | Self::FragmentationOtherStream
                | Self::FragmentationOtherPool
        )
    }
}

/// The verdict on one failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OomVerdict {
    /// Its class.
    pub class: OomClass,
    /// By how many bytes it failed at least: for capacity what was missing even with all free
    /// memory in one piece and open to this request, or where the request would have fitted but not
    /// the segment for it, what the driver lacked for that; for fragmentation what the driver would have
    /// had to have free in addition, or the largest gap to be longer.
    pub missing_bytes: u64,
    /// The numbers it rests on.
    pub evidence: OomEvidence,
}

/// What the CUDA context and libraries of one process usually take; only more than this outside
/// PyTorch is worth blaming. Measured figures lie between 0.3 and 0.9 GiB.
const USUAL_CONTEXT_BYTES: u64 = 1 << 30;

impl OomVerdict {
    /// Judges `evidence`.
    #[must_use]
    pub fn judge(evidence: OomEvidence) -> Self {
        let class = classify(&evidence);
        let wanted = evidence.requested_bytes;
        let missing_bytes = match class {
            OomClass::Capacity if evidence.free_in_all_bytes() >= wanted => evidence
                .driver_request_bytes
                .saturating_sub(evidence.device_free_bytes),
            OomClass::Limit => 0,
            _ if evidence.free_in_all_bytes() < wanted => wanted - evidence.free_in_all_bytes(),
            _ => wanted.saturating_sub(
                evidence
                    .compatible_largest_bytes
                    .max(evidence.device_free_bytes),
            ),
        };
        Self {
            class,
            missing_bytes,
            evidence,
        }
    }
}

fn classify(evidence: &OomEvidence) -> OomClass {
    let wanted = evidence.requested_bytes;
    if evidence.device_free_bytes >= evidence.driver_request_bytes {
        return OomClass::Limit;
    }
    if wanted > evidence.reachable_bytes() {
        let total = evidence.device_total_bytes;
        if total.is_none_or(|total| wanted > total) {
            return OomClass::RequestTooBig;
        }
    }
    let missing = wanted.saturating_sub(evidence.free_in_all_bytes());
    let blamable = evidence
        .outside_bytes
        .map_or(0, |bytes| bytes.saturating_sub(USUAL_CONTEXT_BYTES));
    // PyTorch's own free bytes, joined, would not have held the request; what lies outside would.
    if missing == 0 && evidence.parts.free_bytes() < wanted && blamable >= wanted {
        return OomClass::OutsidePyTorch;
    }
    if missing > 0 {
        return if blamable >= missing {
            OomClass::OutsidePyTorch
        } else {
            OomClass::Capacity
        };
    }
    let with_driver = |bytes: u64| bytes.saturating_add(evidence.device_free_bytes);
    let on_streams = evidence
        .compatible_free_bytes
        .saturating_add(evidence.other_stream_free_bytes);
    if evidence.compatible_best_segment_free_bytes >= wanted {
        OomClass::FragmentationInterleaved
    } else if evidence.compatible_free_bytes >= wanted {
        OomClass::FragmentationSpread
    // A gap that would have held the request, but for whose it is, is the nearer cause.
    } else if evidence.other_stream_largest_bytes >= wanted {
        OomClass::FragmentationOtherStream
    } else if evidence.other_pool_largest_bytes >= wanted {
        OomClass::FragmentationOtherPool
    } else if evidence.compatible_free_bytes > 0
        && with_driver(evidence.compatible_free_bytes) >= wanted
    {
        OomClass::FragmentationSpread
    } else if evidence.other_stream_free_bytes > 0 && with_driver(on_streams) >= wanted {
        OomClass::FragmentationOtherStream
    } else if evidence.parts.free_bytes() > 0 {
        OomClass::FragmentationOtherPool
    } else {
        // The driver had enough for the request, but not for the segment it would lie in.
        OomClass::Capacity
    }
}
