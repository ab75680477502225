//! The allocator's own counters (`DeviceStats` in `c10/core/CachingDeviceAllocator.h`).

use serde::Serialize;

/// A quantity with its highest value so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gauge {
    /// Now.
    pub current: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl Gauge {
    #[inline]
    pub(super) fn add(&mut self, amount: u64) {
        self.current = self.current.saturating_add(amount);
        self.peak = self.peak.max(self.current);
    }

    #[inline]
    pub(super) fn subtract(&mut self, amount: u64) {
        self.current = self.current.saturating_sub(amount);
    }
}

impl Gauge {
    /// Goes on where another left off.
    fn continue_with(&mut self, later: Self) {
        self.current = later.current;
        self.peak = self.peak.max(later.peak);
    }
}

/// What `torch.cuda.memory_stats()` reports for all pools together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Bytes asked for by blocks that are allocated or pending (`requested_bytes`).
    pub requested: Gauge,
    /// Bytes of allocated blocks (`allocated_bytes`).
    pub allocated: Gauge,
    /// Bytes of allocated and pending blocks (`active_bytes`).
    pub active: Gauge,
    /// Bytes taken from the driver (`reserved_bytes`).
    pub reserved: Gauge,
    /// Bytes of free blocks in split segments, expandable ones left out as PyTorch does
    /// (`inactive_split_bytes`).
    pub inactive_split: Gauge,
    /// Segments taken with `cudaMalloc` and held; expandable ones are not counted (`segment`).
    pub segments: Gauge,
    /// Calls of `cudaMalloc` and page mappings that succeeded (`num_device_alloc`).
    pub device_allocs: u64,
    /// Calls of `cudaFree` and page unmappings (`num_device_free`).
    pub device_frees: u64,
    /// Times everything cached was given back to try again (`num_alloc_retries`).
    pub alloc_retries: u64,
    /// Requests that failed for good (`num_ooms`).
    pub ooms: u64,
}

impl Counters {
    /// Adds what happened later, counted from a fresh start.
    pub(super) fn continue_with(&mut self, later: &Self) {
        self.requested.continue_with(later.requested);
        self.allocated.continue_with(later.allocated);
        self.active.continue_with(later.active);
        self.reserved.continue_with(later.reserved);
        self.inactive_split.continue_with(later.inactive_split);
        self.segments.continue_with(later.segments);
        self.device_allocs += later.device_allocs;
        self.device_frees += later.device_frees;
        self.alloc_retries += later.alloc_retries;
        self.ooms += later.ooms;
    }
}
