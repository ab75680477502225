//! One device in the page's data.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::attribution::{DeviceAttribution, Evidence};
use crate::metrics::{Fragmentation, FragmentationHistory};
use crate::oom::oom_events;
use crate::replay::{AllocationId, DeviceReplay, Moment};
use crate::snapshot::Events;
use crate::units;

use super::allocations::{AllocationColumns, allocation_columns};
use super::budget::Budget;
use super::clock::Clock;
use super::columns::{deltas, exact, signed_deltas};
use super::kept::KeptAllocations;
use super::labels::{Label, category_row, evidence_letter};
use super::maps::{SegmentMapColumns, segment_map};
use super::moments::KeptMoments;
use super::page_data::PageData;
use super::ranges::{RangeColumns, ranges};
use super::what_if::WhatIfFindings;
use super::what_if_columns::{WhatIfColumns, columns};

/// OOM events that get detail, a map and a checkpoint of their own: the first ones and the last.
const DETAILED_OOMS: usize = 3;

/// A moment with a name, to jump to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NamedMoment {
    /// `peak`, `oom`, `start`, `end`, …
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) moment: Moment,
}

/// The smaller allocations of one moment, summed by stack, layer and category.
#[derive(Clone, Debug, Serialize)]
struct Checkpoint {
    moment: Moment,
    /// Stack node, layer row, category row, bytes, how many.
    groups: Vec<(u32, u32, u32, u64, u64)>,
    /// By group: letters for how layer and category are known.
    known: String,
    /// Groups too small to keep: bytes, how many allocations.
    others: (u64, u64),
}

/// One step of training.
#[derive(Clone, Debug, Serialize)]
struct StepData {
    number: u64,
    from: Moment,
    to: Moment,
    peak_moment: Moment,
    peak_bytes: u64,
}

/// Everything about one device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DeviceData {
    device: String,
    events: u32,
    /// Allocations in all, kept or not.
    allocation_count: u64,
    all_moments: bool,
    all_allocations: bool,
    /// Requested bytes of the largest allocation not kept one by one.
    largest_left_out: u64,
    /// Kept moments; this and the columns below are differences.
    moments: Vec<i64>,
    /// Microseconds since the first event; empty where no times are recorded.
    time_us: Vec<i64>,
    /// The first event's time, microseconds since the Unix epoch.
    start_us: Option<i64>,
    /// Requested bytes of active blocks.
    requested: Vec<i64>,
    reserved: Vec<i64>,
    /// The parts of the reserved bytes.
    parts: PartColumns,
    /// Requested bytes of the live allocations not kept one by one, and how many those are.
    rest_bytes: Vec<i64>,
    rest_count: Vec<i64>,
    /// Where the curve and the sum of live allocations differ: curve minus sum. Empty if they
    /// never do.
    unexplained: Vec<i64>,
    allocations: AllocationColumns,
    checkpoints: Vec<Checkpoint>,
    named: Vec<NamedMoment>,
    steps: Vec<StepData>,
    steps_known: char,
    phases: Vec<(&'static str, u32, u32)>,
    ranges: RangeColumns,
    maps: Vec<SegmentMapColumns>,
    what_if: Option<WhatIfColumns>,
}

/// The fragmentation identity by kept moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PartColumns {
    requested: Vec<i64>,
    rounding: Vec<i64>,
    slack: Vec<i64>,
    pending: Vec<i64>,
    split_free: Vec<i64>,
    whole_free: Vec<i64>,
}

/// What was found on the way and the rest of the page shows.
pub(super) struct DeviceFindings {
    pub(super) history: FragmentationHistory,
    /// Kept moments with the parts at each.
    pub(super) parts: Vec<(Moment, Fragmentation)>,
    pub(super) named: Vec<NamedMoment>,
    pub(super) clock: Clock,
}

/// Gathers one device.
pub(super) fn device_data(
    page: &mut PageData<'_>,
    replay: &DeviceReplay,
    attribution: Option<&DeviceAttribution>,
    what_if: &WhatIfFindings,
    budget: Budget,
) -> (DeviceData, DeviceFindings) {
    let snapshot = page.labels.snapshot;
    let none = Events::default();
    let events = snapshot
        .trace(replay.device)
        .map_or(&none, |trace| &trace.events);
    let clock = Clock::new(events);
    // The worst moment of fragmentation is known only after a walk: the first one finds it, the
    // second reads the parts at the moments kept.
    let history = FragmentationHistory::walk(snapshot, replay, |_, _| {});
    let named = named_moments(page, replay, &history, events);
    let special = special_moments(&named, attribution);
    let focus: Vec<Moment> = named
        .iter()
        .filter(|named| matches!(named.kind, "peak" | "oom"))
        .map(|named| named.moment)
        .collect();
    let shown: Vec<Moment> = named
        .iter()
        .filter(|named| named.kind != "start")
        .map(|named| named.moment)
        .collect();
    let moments = KeptMoments::choose(replay, &special, &focus, budget.moments);
    let parts = parts_at(page, replay, &moments);
    let kept = KeptAllocations::choose(replay, &moments, &shown, budget.allocations);
    let rows: HashMap<AllocationId, u32, FixedState> = kept
        .ids
        .iter()
        .enumerate()
        .map(|(row, &id)| (id, row as u32))
        .collect();
    let requested = moments.values(&replay.requested);
    let unexplained: Vec<i64> = requested
        .iter()
        .zip(&kept.live_bytes)
        .map(|(&curve, &sum)| exact(curve) as i64 - exact(sum) as i64)
        .collect();
    let column =
        |part: fn(&Fragmentation) -> u64| deltas(parts.iter().map(|(_, parts)| part(parts)));
    let data = DeviceData {
        device: replay.device.to_string(),
        events: replay.event_count(),
        allocation_count: replay.allocations.len() as u64,
        all_moments: moments.is_complete,
        all_allocations: kept.is_complete(),
        largest_left_out: exact(kept.largest_left_out),
        moments: deltas(moments.at.iter().map(|&moment| u64::from(moment))),
        time_us: if clock.is_known() {
            deltas(
                moments
                    .at
                    .iter()
                    .map(|&moment| clock.since_start_us(moment)),
            )
        } else {
            Vec::new()
        },
        start_us: clock.start_us(),
        requested: deltas(requested),
        reserved: deltas(moments.values(&replay.reserved)),
        parts: PartColumns {
            requested: column(|parts| parts.requested_bytes),
            rounding: column(|parts| parts.rounding_bytes),
            slack: column(|parts| parts.slack_bytes),
            pending: column(|parts| parts.pending_bytes),
            split_free: column(|parts| parts.split_free_bytes),
            whole_free: column(|parts| parts.whole_free_bytes),
        },
        rest_bytes: deltas(kept.rest_bytes.iter().copied()),
        rest_count: deltas(kept.rest_count.iter().copied()),
        unexplained: if unexplained.iter().all(|&bytes| bytes == 0) {
            Vec::new()
        } else {
            signed_deltas(unexplained)
        },
        checkpoints: checkpoints(page, replay, attribution, &kept, &named, budget),
        allocations: allocation_columns(page, replay, attribution, &kept.ids),
        steps: attribution.map(steps).unwrap_or_default(),
        steps_known: evidence_letter(
            attribution.map_or(Evidence::Unknown, |known| known.steps.evidence),
        ),
        phases: phases(attribution, budget),
        ranges: ranges(
            snapshot,
            replay.device,
            &clock,
            replay.event_count(),
            &mut page.texts,
            budget.ranges,
        ),
        maps: maps(page, replay, &named, &rows, budget),
        what_if: match what_if {
            WhatIfFindings::Simulated(simulated) => {
                Some(columns(simulated, replay, &rows, budget.blocks / 4))
            }
            _ => None,
        },
        named: named.clone(),
    };
    (
        data,
        DeviceFindings {
            history,
            parts,
            named,
            clock,
        },
    )
}

/// The moments worth a button: the OOMs, the peak, the largest reservation, start and end.
fn named_moments(
    page: &PageData<'_>,
    replay: &DeviceReplay,
    history: &FragmentationHistory,
    events: &Events,
) -> Vec<NamedMoment> {
    let rows = oom_events(page.labels.snapshot, replay);
    let count = rows.len();
    let is_detailed = |index: usize| index < DETAILED_OOMS || index + 1 == count;
    let mut named: Vec<NamedMoment> = rows
        .iter()
        .enumerate()
        .filter(|&(index, _)| is_detailed(index))
        .map(|(index, &row)| NamedMoment {
            kind: "oom",
            name: if count == 1 {
                "OOM".to_owned()
            } else {
                format!("OOM {} of {count}", index + 1)
            },
            moment: row,
        })
        .collect();
    let mut add = |kind: &'static str, name: &str, moment: Moment| {
        named.push(NamedMoment {
            kind,
            name: name.to_owned(),
            moment,
        });
    };
    add("peak", "Peak", replay.peak_moment());
    add("reserved", "Reserved peak", history.reserved_peak_moment);
    add("worst", "Most lost", history.worst_moment);
    add("start", "Start", 0);
    let is_short = events.is_empty();
    if !is_short {
        add("end", "End", replay.event_count());
    }
    named
}

fn special_moments(named: &[NamedMoment], attribution: Option<&DeviceAttribution>) -> Vec<Moment> {
    /// More steps than this keep only their place, not their peaks.
    const MAX_STEPS: usize = 2_000;
    let mut special: Vec<Moment> = named.iter().map(|named| named.moment).collect();
    let steps = attribution.map_or(&[][..], |known| &known.steps.steps);
    special.extend(steps.iter().take(MAX_STEPS).map(|step| step.peak_moment));
    special
}

/// The parts of the reserved bytes at every kept moment.
fn parts_at(
    page: &PageData<'_>,
    replay: &DeviceReplay,
    moments: &KeptMoments,
) -> Vec<(Moment, Fragmentation)> {
    let mut out = Vec::with_capacity(moments.at.len());
    let mut waiting = moments.at.iter().copied().peekable();
    let mut before = Fragmentation::default();
    FragmentationHistory::walk(page.labels.snapshot, replay, |moment, parts| {
        while let Some(kept) = waiting.next_if(|&kept| kept < moment) {
            out.push((kept, before));
        }
        before = *parts;
    });
    out.extend(waiting.map(|kept| (kept, before)));
    out
}

fn checkpoints(
    page: &mut PageData<'_>,
    replay: &DeviceReplay,
    attribution: Option<&DeviceAttribution>,
    kept: &KeptAllocations,
    named: &[NamedMoment],
    budget: Budget,
) -> Vec<Checkpoint> {
    if kept.is_complete() {
        return Vec::new();
    }
    let moments: std::collections::BTreeSet<Moment> =
        named.iter().map(|named| named.moment).collect();
    let room = budget.rest_groups / moments.len().max(1);
    let labels = page.labels;
    let mut checkpoint = |moment: Moment| {
        let mut groups: BTreeMap<(u32, u32, Label), (u64, u64)> = BTreeMap::new();
        for id in kept.rest_at(replay, moment) {
            let allocation = replay.allocations.get(id);
            let label = labels.of(attribution, id);
            let key = (page.stack(allocation.stack), page.layer(label.layer), label);
            let sum = groups.entry(key).or_default();
            sum.0 = sum.0.saturating_add(allocation.requested);
            sum.1 += 1;
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|&(key, (bytes, _))| (std::cmp::Reverse(bytes), key));
        let others = groups.split_off(room.min(groups.len()));
        let add = |sum: (u64, u64), one: &(_, (u64, u64))| (sum.0 + one.1.0, sum.1 + one.1.1);
        let mut known = String::new();
        for ((_, _, label), _) in &groups {
            known.push(evidence_letter(label.layer_known));
            known.push(evidence_letter(label.category_known));
        }
        Checkpoint {
            moment,
            others: others.iter().fold((0, 0), add),
            known,
            groups: groups
                .into_iter()
                .map(|((stack, layer, label), (bytes, count))| {
                    (
                        stack,
                        layer,
                        category_row(label.category),
                        exact(bytes),
                        count,
                    )
                })
                .collect(),
        }
    };
    moments.iter().map(|&moment| checkpoint(moment)).collect()
}

fn steps(attribution: &DeviceAttribution) -> Vec<StepData> {
    /// More steps than this are not drawn one by one.
    const MAX_STEPS: usize = 5_000;
    let steps = attribution.steps.steps.iter().take(MAX_STEPS);
    let step = |step: &crate::attribution::Step| StepData {
        number: step.number,
        from: step.start,
        to: step.end,
        peak_moment: step.peak_moment,
        peak_bytes: exact(step.peak_bytes),
    };
    steps.map(step).collect()
}

fn phases(
    attribution: Option<&DeviceAttribution>,
    budget: Budget,
) -> Vec<(&'static str, u32, u32)> {
    let spans = attribution.map_or(&[][..], |known| &known.phases);
    if spans.len() > budget.ranges {
        return Vec::new();
    }
    spans
        .iter()
        .map(|span| (span.phase.name(), span.start, span.end))
        .collect()
}

/// Maps at the OOMs, the peak and the end.
fn maps(
    page: &PageData<'_>,
    replay: &DeviceReplay,
    named: &[NamedMoment],
    rows: &HashMap<AllocationId, u32, FixedState>,
    budget: Budget,
) -> Vec<SegmentMapColumns> {
    let mut wanted: Vec<&NamedMoment> = named
        .iter()
        .filter(|named| {
            matches!(named.kind, "oom" | "peak" | "reserved" | "end") || replay.event_count() == 0
        })
        .collect();
    wanted.dedup_by_key(|named| named.moment);
    let room = budget.blocks / wanted.len().max(1);
    wanted
        .iter()
        .map(|named| {
            segment_map(
                page.labels.snapshot,
                replay,
                (&named.name, named.moment),
                rows,
                room,
            )
        })
        .collect()
}

impl DeviceData {
    /// What the page does not hold of this device, in a sentence; empty if it holds everything.
    pub(super) fn left_out(&self) -> String {
        let mut parts = Vec::new();
        if !self.all_moments {
            parts.push(format!(
                "sums at {} of {} moments (the highest and lowest of each stretch, and every moment near the peak and OOMs)",
                units::count(self.moments.len() as u64),
                units::count(u64::from(self.events) + 1)
            ));
        }
        if !self.all_allocations {
            parts.push(format!(
                "{} of {} allocations one by one (those of the moments with a button, those near them, and those that take most room), the others, of at most {} each, as exact sums",
                units::count(self.allocations.len() as u64),
                units::count(self.allocation_count),
                units::bytes(self.largest_left_out)
            ));
        }
        if parts.is_empty() {
            String::new()
        } else {
            format!("To stay small, this page keeps {}.", parts.join("; "))
        }
    }
}
