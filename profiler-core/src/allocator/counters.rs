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
