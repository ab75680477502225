//! A run in a few numbers.

use serde::Serialize;

use super::counters::Counters;
use super::replay::Recording;
use super::rounding::SizeRules;
use crate::snapshot::{Action, Snapshot};

/// Peaks and counts of one device over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Most bytes asked for and not yet freed.
    pub requested_peak_bytes: u64,
    /// Most bytes of allocated blocks. Of a recording that the model does not explain: of the
    /// rounded requests, which is the least it can have been.
    pub allocated_peak_bytes: u64,
    /// Most bytes held.
    pub reserved_peak_bytes: u64,
    /// Segments and page ranges taken.
    pub segment_allocs: u64,
    /// Segments and page ranges given back.
    pub segment_frees: u64,
    /// Times everything cached was given back to try again. A trace does not name them: of a
    /// recording that the model does not explain, those of the part that was replayed.
    pub alloc_retries: u64,
    /// The row of the first allocation that failed.
    pub oom_event: Option<u32>,
}

/// What the allocator's counters show.
pub(super) fn summary(counters: &Counters, oom_event: Option<u32>) -> Summary {
    Summary {
        requested_peak_bytes: counters.requested.peak,
        allocated_peak_bytes: counters.allocated.peak,
        reserved_peak_bytes: counters.reserved.peak,
        segment_allocs: counters.device_allocs,
        segment_frees: counters.device_frees,
        alloc_retries: counters.alloc_retries,
        oom_event,
    }
}

/// What the recording itself shows.
pub(super) fn recorded_summary(snapshot: &Snapshot, recording: &Recording) -> Summary {
    let mut oom_event = None;
    let mut allocs = 0;
    let mut frees = 0;
    if let Some(trace) = snapshot.trace(recording.program.device) {
        for (row, action) in trace.events.actions().iter().enumerate() {
            match action {
                Action::SegmentAlloc | Action::SegmentMap => allocs += 1,
                Action::SegmentFree | Action::SegmentUnmap => frees += 1,
                Action::Oom => oom_event = oom_event.or(Some(row as u32)),
                _ => {}
            }
        }
    }
    let mut found = Summary {
        reserved_peak_bytes: recording.fidelity.peak_reserved_recorded,
        segment_allocs: allocs,
        segment_frees: frees,
        ..summary(&recording.counters, oom_event)
    };
    if !recording.fidelity.is_exact() {
        // The replay may have ended early: only what the trace itself says counts.
        let rules = SizeRules::new(recording.rules.dialect, &recording.settings);
        let (requested, allocated) = recording.program.peaks(&rules);
        found.requested_peak_bytes = requested;
        found.allocated_peak_bytes = allocated;
    }
    found
}
