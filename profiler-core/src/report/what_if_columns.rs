//! Simulated curves and maps in the page's data.

use std::cmp::Reverse;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::allocator::{BlockMap, Candidate, MapSegment, Use};
use crate::replay::{AllocationId, DeviceReplay};

use super::columns::{deltas, exact};
use super::maps::{FREE, OTHER_IN_USE, OTHER_PENDING};
use super::what_if::Simulated;

/// The block of the request that failed in the recording, in [`SegmentColumns::uses`].
const FAILED_REQUEST: i64 = -4;

/// What the page draws of one device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WhatIfColumns {
    /// The row of the first recorded failure.
    oom_event: Option<u32>,
    /// The capacity in question.
    capacity: Option<u64>,
    /// The setting whose curve and map are shown first.
    shown: usize,
    /// Events of the part of which a curve keeps the highest and the last point.
    part: u32,
    /// By setting, in the order of the table.
    curves: Vec<CurveColumns>,
    /// As recorded, and under the setting shown.
    maps: Vec<MapColumns>,
}

/// One curve; both columns are differences.
#[derive(Clone, Debug, Serialize)]
struct CurveColumns {
    moments: Vec<i64>,
    reserved: Vec<i64>,
    /// The row of its failure.
    oom_event: Option<u32>,
}

/// One map, in the form of the page's other maps.
#[derive(Clone, Debug, Serialize)]
struct MapColumns {
    /// The row of the event it is at.
    event: u32,
    reserved: u64,
    /// The largest free block.
    largest_free: u64,
    segments: Vec<SegmentColumns>,
    left_out: u64,
    left_out_bytes: u64,
}

/// One segment and its blocks.
#[derive(Clone, Debug, Serialize)]
struct SegmentColumns {
    address: String,
    size: u64,
    /// The stream's pointer.
    stream: i64,
    kind: &'static str,
    expandable: bool,
    sizes: Vec<u64>,
    /// As in the page's other maps, and [`FAILED_REQUEST`].
    uses: Vec<i64>,
}

/// The columns of `simulated`; `rows` are the allocations kept one by one, and the maps have at
/// most `budget` blocks each.
pub(super) fn columns(
    simulated: &Simulated,
    replay: &DeviceReplay,
    rows: &HashMap<AllocationId, u32, FixedState>,
    budget: usize,
) -> WhatIfColumns {
    let advice = &simulated.advice;
    let by_event: HashMap<u32, u32, FixedState> = rows
        .iter()
        .filter_map(|(&id, &row)| Some((replay.allocations.get(id).alloc_event()?, row)))
        .collect();
    let oom_event = advice.recorded.oom_event;
    let mut maps = Vec::new();
    if let Some((recorded, other)) = &simulated.maps {
        let columns = |map| map_columns(map, &by_event, oom_event, budget);
        maps.extend([columns(recorded), columns(other)]);
    }
    WhatIfColumns {
        oom_event,
        capacity: advice.capacity_bytes.map(exact),
        shown: simulated.shown,
        part: simulated.curve_part,
        curves: advice.candidates.iter().map(curve_columns).collect(),
        maps,
    }
}

fn curve_columns(candidate: &Candidate) -> CurveColumns {
    let points = &candidate.curve;
    CurveColumns {
        // The moment after the event.
        moments: deltas(points.iter().map(|point| u64::from(point.event) + 1)),
        reserved: deltas(points.iter().map(|point| point.reserved)),
        oom_event: candidate
            .at_capacity
            .as_ref()
            .and_then(|summary| summary.oom_event),
    }
}

fn map_columns(
    map: &BlockMap,
    rows: &HashMap<u32, u32, FixedState>,
    oom_event: Option<u32>,
    budget: usize,
) -> MapColumns {
    let bytes = |segments: &[&MapSegment]| {
        let sizes = segments.iter().map(|segment| segment.size);
        exact(sizes.fold(0, u64::saturating_add))
    };
    let mut all: Vec<&MapSegment> = map.segments.iter().collect();
    let reserved = bytes(&all);
    let blocks = map.segments.iter().flat_map(|segment| &segment.blocks);
    let free = blocks.filter(|block| block.state == Use::Free);
    let largest_free = free.map(|block| block.size).max().unwrap_or(0);
    all.sort_by_key(|segment| (Reverse(segment.size), segment.address));
    let mut room = budget;
    let fitting = all.iter().take_while(|segment| {
        let fits = segment.blocks.len() <= room;
        room = room.saturating_sub(segment.blocks.len());
        fits
    });
    let left_out = all.split_off(fitting.count());
    all.sort_by_key(|segment| segment.address);
    MapColumns {
        event: map.event,
        reserved,
        largest_free: exact(largest_free),
        segments: all
            .into_iter()
            .map(|segment| segment_columns(segment, rows, oom_event))
            .collect(),
        left_out: left_out.len() as u64,
        left_out_bytes: bytes(&left_out),
    }
}

fn segment_columns(
    segment: &MapSegment,
    rows: &HashMap<u32, u32, FixedState>,
    oom_event: Option<u32>,
) -> SegmentColumns {
    let uses = segment.blocks.iter().map(|block| {
        let row = block.alloc_event.and_then(|event| rows.get(&event));
        match block.state {
            Use::Free | Use::Unmapped | Use::Vacant => FREE,
            _ if block.alloc_event.is_some() && block.alloc_event == oom_event => FAILED_REQUEST,
            Use::Allocated => row.map_or(OTHER_IN_USE, |&row| i64::from(row) * 2),
            Use::Pending => row.map_or(OTHER_PENDING, |&row| i64::from(row) * 2 + 1),
        }
    });
    SegmentColumns {
        address: format!("{:x}", segment.address),
        size: exact(segment.size),
        stream: segment.stream as i64,
        kind: segment.kind.name(),
        expandable: segment.is_expandable,
        sizes: segment
            .blocks
            .iter()
            .map(|block| exact(block.size))
            .collect(),
        uses: uses.collect(),
    }
}
