//! What is known about a failed allocation, in bytes.

use serde::Serialize;

use crate::allocator::SizeRules;
use crate::metrics::Fragmentation;
use crate::metrics::{FreeClass, FreeMemory, fragmentation_at, free_memory};
use crate::replay::{DeviceReplay, MappedSegment, Moment};
use crate::snapshot::{Action, SegmentKind, Snapshot, StackId};
use crate::units;

/// The numbers behind a verdict. Every one is exact; what the file does not tell is None.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OomEvidence {
    /// Row of the `oom` event.
    pub event: u32,
    /// The state the request met: after the allocator's own retries.
    #[serde(skip)]
    pub moment: Moment,
    /// Time of the failure, microseconds since the Unix epoch.
    pub time_us: Option<i64>,
    /// Who asked.
    #[serde(skip)]
    pub stack: StackId,
    /// What was asked for, rounded by the allocator's size rules.
    pub requested_bytes: u64,
    /// What the driver was asked for: a whole segment, or pages.
    pub driver_request_bytes: u64,
    /// What the driver had free (`cudaMemGetInfo`), over all processes.
    pub device_free_bytes: u64,
    /// The device's whole memory, if known from outside the file.
    pub device_total_bytes: Option<u64>,
    /// What neither PyTorch's segments nor the free memory account for: CUDA context, libraries,
    /// NCCL, other processes. Known when the total is.
    pub outside_bytes: Option<u64>,
    /// Where the reserved bytes were.
    pub parts: Fragmentation,
    /// Size class the request needs.
    #[serde(skip)]
    pub class: FreeClass,
    /// Free memory the request could have used: same stream, pool and size class.
    pub compatible_free_bytes: u64,
    /// Its largest gap.
    pub compatible_largest_bytes: u64,
    /// How many gaps it is in.
    pub compatible_gaps: u64,
    /// The most free bytes that one segment of the class holds, over all its gaps.
    pub compatible_best_segment_free_bytes: u64,
    /// Free memory of other streams in the same pool and size class.
    pub other_stream_free_bytes: u64,
    /// The largest gap among those.
    pub other_stream_largest_bytes: u64,
    /// Free memory in other memory pools (CUDA graphs, `MemPool`).
    pub other_pool_free_bytes: u64,
    /// The largest gap among those.
    pub other_pool_largest_bytes: u64,
    /// Free memory of the other size class.
    pub other_kind_free_bytes: u64,
    /// Whether expandable segments were on, as far as the file tells.
    pub expandable_segments: bool,
}

impl OomEvidence {
    /// Gathers the evidence for the `oom` event at `row`; None if there is no such event. Without
    /// `device_total_bytes` the device's memory is what a recorder was told of it, if there was one.
    #[must_use]
    pub fn gather(
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        row: u32,
        device_total_bytes: Option<u64>,
    ) -> Option<Self> {
        let events = &snapshot.trace(replay.device)?.events;
        let event = events.get(row as usize);
        if event.action != Action::Oom {
            return None;
        }
        let rules = SizeRules::recorded(snapshot);
        let map = replay.segment_map_at(row);
        let kind = rules.kind(event.size);
        let class = FreeClass {
            pool: event.pool,
            kind,
            stream: event.stream,
        };
        let free = free_memory(&map);
        let compatible = free.get(&class).copied().unwrap_or_default();
        let sum = |wanted: &dyn Fn(&FreeClass) -> bool| {
            free.iter().filter(|(class, _)| wanted(class)).fold(
                FreeMemory::default(),
                |sum, (_, free)| FreeMemory {
                    total_bytes: sum.total_bytes.saturating_add(free.total_bytes),
                    largest_bytes: sum.largest_bytes.max(free.largest_bytes),
                    gaps: sum.gaps + free.gaps,
                    whole_segment_bytes: sum
                        .whole_segment_bytes
                        .saturating_add(free.whole_segment_bytes),
                },
            )
        };
        let other_stream = sum(&|other| {
            (other.pool, other.kind) == (class.pool, class.kind) && other.stream != class.stream
        });
        let other_pool = sum(&|other| other.pool != class.pool && other.kind == class.kind);
        let other_kind = sum(&|other| other.kind != class.kind);
        let parts = fragmentation_at(snapshot, replay, row);
        let accounted = parts.reserved_bytes.saturating_add(event.address);
        let context = snapshot.context.as_deref();
        let told = context.and_then(|context| context.device_total_bytes(replay.device));
        // A device that holds more than it has is not the one that was told of.
        let device_total_bytes = device_total_bytes.or(told.filter(|&total| total >= accounted));
        let settings = snapshot.settings.as_ref();
        let expandable_segments = settings
            .and_then(|settings| settings.expandable_segments)
            .unwrap_or_else(|| map.iter().any(|mapped| mapped.segment.is_expandable));
        Some(Self {
            event: row,
            moment: row,
            time_us: Some(event.time_us).filter(|&time| time != crate::snapshot::NO_TIME),
            stack: event.stack,
            requested_bytes: event.size,
            driver_request_bytes: driver_request(&rules, kind, event.size, expandable_segments),
            device_free_bytes: event.address,
            device_total_bytes,
            outside_bytes: device_total_bytes.map(|total| total.saturating_sub(accounted)),
            parts,
            class,
            compatible_free_bytes: compatible.total_bytes,
            compatible_largest_bytes: compatible.largest_bytes,
            compatible_gaps: compatible.gaps,
            compatible_best_segment_free_bytes: best_segment(&map, class),
            other_stream_free_bytes: other_stream.total_bytes,
            other_stream_largest_bytes: other_stream.largest_bytes,
            other_pool_free_bytes: other_pool.total_bytes,
            other_pool_largest_bytes: other_pool.largest_bytes,
            other_kind_free_bytes: other_kind.total_bytes,
            expandable_segments,
        })
    }

    /// All memory that would be free if PyTorch's free memory were in one piece and open to
    /// this request: its gaps of every class, and what the driver had.
    #[must_use]
    pub fn free_in_all_bytes(&self) -> u64 {
        self.parts
            .free_bytes()
            .saturating_add(self.device_free_bytes)
    }

    /// What was asked for, in words: with what that meant for the driver, where that was more.
    #[must_use]
    pub fn asked(&self) -> String {
        let wanted = units::bytes(self.requested_bytes);
        if self.driver_request_bytes <= self.requested_bytes {
            return wanted;
        }
        let segment = units::bytes(self.driver_request_bytes);
        format!("{wanted}, for which {segment} were asked of the driver")
    }

    /// All memory PyTorch could have had for itself: what it reserved and what was free.
    #[must_use]
    pub fn reachable_bytes(&self) -> u64 {
        self.parts
            .reserved_bytes
            .saturating_add(self.device_free_bytes)
    }
}

/// The rows of all `oom` events of `replay`'s device, in order.
#[must_use]
pub fn oom_events(snapshot: &Snapshot, replay: &DeviceReplay) -> Vec<u32> {
    let Some(trace) = snapshot.trace(replay.device) else {
        return Vec::new();
    };
    let actions = trace.events.actions().iter().enumerate();
    let ooms = actions.filter(|(_, action)| **action == Action::Oom);
    ooms.map(|(row, _)| row as u32).collect()
}

/// What the allocator asks the driver for when nothing cached fits.
fn driver_request(rules: &SizeRules, kind: SegmentKind, rounded: u64, expandable: bool) -> u64 {
    if !expandable {
        return rules.segment_size(rounded);
    }
    let page = rules.page_size(kind).max(1);
    rounded.checked_next_multiple_of(page).unwrap_or(u64::MAX)
}

fn best_segment(map: &[MappedSegment], class: FreeClass) -> u64 {
    let of_class = map.iter().filter(|mapped| {
        let segment = &mapped.segment;
        (segment.pool, segment.kind, segment.stream) == (class.pool, class.kind, class.stream)
    });
    of_class.map(MappedSegment::free_bytes).max().unwrap_or(0)
}
