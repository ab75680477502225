//! `record_function` ranges, paired and laid out in lanes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::replay::Moment;
use crate::snapshot::{DeviceId, Snapshot, Stage, StringId};

use super::clock::Clock;
use super::text::Texts;

/// Lanes drawn at most; what nests deeper shares the last one.
const MAX_LANES: usize = 4;

/// The kept ranges of one device, as columns.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RangeColumns {
    name: Vec<u32>,
    from: Vec<Moment>,
    to: Vec<Moment>,
    lane: Vec<u32>,
    /// How many shorter ranges were left out.
    left_out: u64,
    /// How many ends had no start, or starts no end.
    unpaired: u64,
}

/// The `budget` ranges of `device` that cover the most events. A range that never ends lasts to
/// the end of the recording.
pub(super) fn ranges(
    snapshot: &Snapshot,
    device: DeviceId,
    clock: &Clock,
    last: Moment,
    texts: &mut Texts<'_>,
    budget: usize,
) -> RangeColumns {
    let mut columns = RangeColumns::default();
    let mut open: BTreeMap<StringId, Vec<Moment>> = BTreeMap::new();
    let mut found: Vec<(Moment, Moment, StringId)> = Vec::new();
    for annotation in snapshot
        .annotations
        .iter()
        .filter(|annotation| annotation.device == device)
    {
        let moment = clock.moment_at(annotation.time_us);
        let starts = open.entry(annotation.name).or_default();
        match (annotation.stage, starts.pop()) {
            (Stage::End, Some(start)) => found.push((start, moment, annotation.name)),
            (Stage::End, None) => columns.unpaired += 1,
            (Stage::Start, earlier) => {
                starts.extend(earlier);
                starts.push(moment);
            }
        }
    }
    for (name, starts) in open {
        columns.unpaired += starts.len() as u64;
        found.extend(starts.into_iter().map(|start| (start, last, name)));
    }
    found.retain(|&(start, end, _)| start < end);
    found.sort_by_key(|&(start, end, name)| (std::cmp::Reverse(end - start), start, name));
    columns.left_out = found.len().saturating_sub(budget) as u64;
    found.truncate(budget);
    found.sort_by_key(|&(start, end, name)| (start, std::cmp::Reverse(end), name));
    let mut lane_ends = [0; MAX_LANES];
    for (start, end, name) in found {
        let free = lane_ends.iter().position(|&busy_until| busy_until <= start);
        let lane = free.unwrap_or(MAX_LANES - 1);
        lane_ends[lane] = end.max(lane_ends[lane]);
        columns.name.push(texts.text(snapshot.strings.get(name)));
        columns.from.push(start);
        columns.to.push(end);
        columns.lane.push(lane as u32);
    }
    columns
}
