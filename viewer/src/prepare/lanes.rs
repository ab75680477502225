//! What happened beside allocations: steps, phases, annotations, failures, segments returned.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use profiler_core::attribution::Attribution;
use profiler_core::replay::{DeviceReplay, Moment};
use profiler_core::snapshot::{Action, Events, Snapshot, Stage, StringId};

use super::Clock;

/// A stretch of moments with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First moment.
    pub from: Moment,
    /// One past its last moment.
    pub to: Moment,
    /// Its name. Text from the file: a stranger's.
    pub name: String,
}

/// Spans that do not overlap, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// What the spans are.
    pub title: &'static str,
    /// The spans.
    pub spans: Vec<Span>,
}

impl Lane {
    /// The spans that touch `from..=to`, of which those closer than `gap` moments to the one
    /// before are left out: at most one per pixel is drawn.
    pub fn visible(
        &self,
        from: Moment,
        to: Moment,
        gap: f64,
    ) -> impl Iterator<Item = (&Span, usize)> {
        let mut at = self.spans.partition_point(|span| span.to <= from);
        std::iter::from_fn(move || {
            let span = self.spans.get(at).filter(|span| span.from <= to)?;
            let edge = (f64::from(span.from) + gap).max(f64::from(span.to) - 0.5);
            let next = self.spans[at + 1..].partition_point(|next| f64::from(next.to) <= edge);
            let folded = next;
            at += 1 + next;
            Some((span, folded))
        })
    }

    /// The span at `moment`.
    #[must_use]
    pub fn at(&self, moment: Moment) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.from <= moment);
        self.spans
            .get(after.checked_sub(1)?)
            .filter(|span| moment < span.to)
    }
}

/// Everything drawn above the timeline.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    /// Steps, phases, then annotations by nesting, outermost first. Lanes without a span are
    /// left out.
    pub spans: Vec<Lane>,
    /// Events at which a segment, or pages of one, went back to the driver, as happens in
    /// `empty_cache`, before an allocation fails, and under garbage collection.
    pub returned: Vec<Moment>,
}

/// The most lanes annotations get: deeper nesting than this is not shown.
const MAX_ANNOTATION_LANES: usize = 6;

impl Lanes {
    /// Gathers the lanes of `replay`'s device.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        attribution: &Attribution,
        events: &Events,
        clock: &Clock,
    ) -> Self {
        let mut spans = Vec::new();
        if let Some(known) = attribution.device(replay.device) {
            let steps = known.steps.steps.iter().map(|step| Span {
                from: step.start,
                to: step.end,
                name: format!("step {}", step.number),
            });
            spans.push(Lane {
                title: "steps",
                spans: steps.collect(),
            });
            let phases = known.phases.iter().map(|span| Span {
                from: span.start,
                to: span.end,
                name: span.phase.name().to_owned(),
            });
            spans.push(Lane {
                title: "phases",
                spans: phases.collect(),
            });
        }
        spans.extend(annotation_lanes(snapshot, replay, clock));
        spans.retain(|lane| !lane.spans.is_empty());
        for lane in &mut spans {
            lane.spans.sort_by_key(|span| (span.from, span.to));
        }
        let returned = events
            .actions()
            .iter()
            .enumerate()
            .filter_map(|(row, action)| {
                matches!(action, Action::SegmentFree | Action::SegmentUnmap)
                    .then_some(row as Moment + 1)
            });
        Self {
            spans,
            returned: returned.collect(),
        }
    }

    /// The lane called `title`.
    #[must_use]
    pub fn lane(&self, title: &str) -> Option<&Lane> {
        self.spans.iter().find(|lane| lane.title == title)
    }
}

/// Pairs the ends of `record_function` ranges and puts them in lanes by nesting. An end without
/// a start is left out; a start without an end lasts to the end of the recording.
fn annotation_lanes(snapshot: &Snapshot, replay: &DeviceReplay, clock: &Clock) -> Vec<Lane> {
    if !clock.is_known() {
        return Vec::new();
    }
    let mut open: HashMap<StringId, Vec<usize>, FixedState> = HashMap::default();
    let mut found: Vec<(Moment, Moment, StringId)> = Vec::new();
    let end = replay.event_count().saturating_add(1);
    for one in snapshot
        .annotations
        .iter()
        .filter(|one| one.device == replay.device)
    {
        let moment = clock.moment_at_epoch(one.time_us);
        match one.stage {
            Stage::Start => {
                open.entry(one.name).or_default().push(found.len());
                found.push((moment, end, one.name));
            }
            Stage::End => {
                let started = open.get_mut(&one.name).and_then(Vec::pop);
                if let Some(span) = started.and_then(|at| found.get_mut(at)) {
                    span.1 = moment.max(span.0);
                }
            }
        }
    }
    found.retain(|(from, to, _)| from < to);
    found.sort_by_key(|&(from, to, name)| (from, std::cmp::Reverse(to), name));
    let mut lanes: Vec<Lane> = Vec::new();
    for (from, to, name) in found {
        let fits = |lane: &Lane| lane.spans.last().is_none_or(|last| last.to <= from);
        let at = match lanes.iter().position(fits) {
            Some(at) => at,
            None if lanes.len() < MAX_ANNOTATION_LANES => {
                lanes.push(Lane {
                    title: "annotations",
                    spans: Vec::new(),
                });
                lanes.len() - 1
            }
            None => continue,
        };
        let name = snapshot.strings.get(name).to_owned();
        lanes[at].spans.push(Span { from, to, name });
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(spans: &[(Moment, Moment)]) -> Lane {
        let span = |&(from, to): &(Moment, Moment)| Span {
            from,
            to,
            name: from.to_string(),
        };
        Lane {
            title: "steps",
            spans: spans.iter().map(span).collect(),
        }
    }

    #[test]
    fn what_is_closer_than_a_pixel_is_folded() {
        let steps = lane(&[(0, 10), (10, 12), (12, 13), (13, 14), (50, 90), (95, 99)]);
        let starts = |from, to, gap| {
            steps
                .visible(from, to, gap)
                .map(|(span, folded)| (span.from, folded))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            starts(0, 100, 0.0),
            [(0, 0), (10, 0), (12, 0), (13, 0), (50, 0), (95, 0)]
        );
        assert_eq!(starts(0, 100, 20.0), [(0, 3), (50, 0), (95, 0)]);
        assert_eq!(starts(11, 60, 0.0), [(10, 0), (12, 0), (13, 0), (50, 0)]);
        assert_eq!(steps.at(11).map(|span| span.from), Some(10));
        assert_eq!(steps.at(14), None);
    }
}
