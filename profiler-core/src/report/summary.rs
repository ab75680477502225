//! What the page says first, in words and numbers: per device, and per OOM.

use crate::attribution::{Attribution, DeviceAttribution, Evidence, frame_label};
use crate::oom::{
    Advice, Certainty, OomClass, OomContext, OomEvidence, OomVerdict, advise, oom_events,
};
use crate::redact::Redactor;
use crate::replay::{DeviceReplay, Moment};
use crate::snapshot::{DeviceId, Snapshot};
use crate::units;

use super::device_data::DeviceFindings;
use super::run::{RunTexts, ToldView};
use super::text::shorten;

/// OOM events judged in full: the first ones and the last.
const JUDGED_OOMS: usize = 3;

/// One number with its name, a short note and what it means.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) help: &'static str,
}

/// One line of evidence.
pub(super) struct EvidenceRow {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) exact: String,
    pub(super) note: &'static str,
}

/// One piece of advice.
pub(super) struct AdviceView {
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) frees: String,
    pub(super) is_enough: bool,
    pub(super) setting: Option<String>,
}

/// One judged OOM.
pub(super) struct OomView {
    pub(super) class: &'static str,
    pub(super) lead: String,
    pub(super) note: String,
    pub(super) moment: Moment,
    pub(super) evidence: Vec<EvidenceRow>,
    /// The cleaned stack of the request, innermost first.
    pub(super) asked_by: Vec<String>,
    /// The step it came in, if told.
    pub(super) step: Option<String>,
    /// What the recorder told of it.
    pub(super) told: ToldView,
    pub(super) advice: Vec<AdviceView>,
}

/// How many frames of the failed request's stack the summary shows.
const ASKED_BY_FRAMES: usize = 10;

/// The texts for one device.
pub(super) struct Summary {
    pub(super) ooms: Vec<OomView>,
    pub(super) more_ooms: Option<String>,
    pub(super) lead: String,
    pub(super) lead_note: String,
    pub(super) facts: Vec<Fact>,
}

/// What a summary is made from.
pub(super) struct Subject<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) replay: &'a DeviceReplay,
    pub(super) attribution: &'a Attribution,
    pub(super) device_total_bytes: Option<u64>,
    pub(super) redactor: Option<&'a Redactor>,
}

impl Subject<'_> {
    pub(super) fn shown(&self, text: &str) -> String {
        let shown = self
            .redactor
            .map_or_else(|| text.to_owned(), |redactor| redactor.text(text));
        shorten(shown)
    }

    fn device(&self) -> Option<&DeviceAttribution> {
        self.attribution.device(self.replay.device)
    }

    pub(super) fn summary(&self, findings: &DeviceFindings) -> Summary {
        let rows = oom_events(self.snapshot, self.replay);
        let is_judged = |index: usize| index < JUDGED_OOMS || index + 1 == rows.len();
        let judged = rows
            .iter()
            .enumerate()
            .filter(|&(index, _)| is_judged(index));
        let ooms: Vec<OomView> = judged
            .filter_map(|(index, &row)| self.oom(row, index, rows.len(), findings))
            .collect();
        let unjudged = rows.len().saturating_sub(ooms.len());
        let (lead, lead_note) = self.lead(findings);
        Summary {
            more_ooms: (unjudged > 0).then(|| {
                format!(
                    "{} more OOM events are marked in the timeline.",
                    units::count(unjudged as u64)
                )
            }),
            ooms,
            lead,
            lead_note,
            facts: self.facts(findings),
        }
    }

    fn oom(
        &self,
        row: u32,
        index: usize,
        count: usize,
        findings: &DeviceFindings,
    ) -> Option<OomView> {
        let evidence =
            OomEvidence::gather(self.snapshot, self.replay, row, self.device_total_bytes)?;
        let verdict = OomVerdict::judge(evidence);
        let advice = advise(self.snapshot, self.replay, self.attribution, &verdict);
        let which = if count > 1 {
            format!("OOM {} of {count}: ", index + 1)
        } else {
            "Out of memory: ".to_owned()
        };
        let when = if findings.clock.is_known() {
            format!(
                ", {} after the first event",
                units::duration_us(findings.clock.since_start_us(row))
            )
        } else {
            String::new()
        };
        Some(OomView {
            class: verdict.class.title(),
            lead: which + &lead_of(&verdict),
            note: format!(
                "{} At event {}{when}.",
                missing_of(&verdict),
                units::count(u64::from(row))
            ),
            moment: verdict.evidence.moment,
            evidence: evidence_rows(&verdict.evidence),
            asked_by: self.asked_by(&verdict.evidence),
            step: self.step_of(row),
            told: OomContext::of(self.snapshot, self.replay.device, row)
                .map(|context| {
                    let texts = RunTexts {
                        redactor: self.redactor,
                    };
                    texts.failure(&context)
                })
                .unwrap_or_default(),
            advice: advice.iter().map(|advice| self.advice(advice)).collect(),
        })
    }

    /// The frames of the failed request.
    fn asked_by(&self, evidence: &OomEvidence) -> Vec<String> {
        let clean = &self.attribution.clean;
        let frames = clean.clean_frames(clean.of(evidence.stack));
        frames
            .take(ASKED_BY_FRAMES)
            .map(|frame| self.shown(&frame_label(self.snapshot, frame)))
            .collect()
    }

    /// The step that the event at `row` belongs to, and how it is known.
    fn step_of(&self, row: u32) -> Option<String> {
        let steps = &self.attribution.device(self.replay.device)?.steps;
        let step = steps.steps.get(steps.at(row)?)?;
        let number = step.number;
        Some(format!("in step {number} ({})", steps.evidence.name()))
    }

    fn advice(&self, advice: &Advice) -> AdviceView {
        let bytes = units::bytes(advice.frees_bytes);
        AdviceView {
            title: self.shown(&advice.title),
            detail: self.shown(&advice.detail),
            frees: match advice.certainty {
                Certainty::Simulated => "simulated on the allocator's model".to_owned(),
                Certainty::Exact if advice.is_enough => String::new(),
                _ if advice.frees_bytes == 0 => {
                    "frees an amount this file does not tell".to_owned()
                }
                Certainty::Exact => format!("frees {bytes}"),
                Certainty::UpperBound => format!("frees up to {bytes}"),
            },
            is_enough: advice.is_enough,
            setting: advice.setting.as_deref().map(|setting| self.shown(setting)),
        }
    }

    /// The first sentence of a file without an OOM.
    fn lead(&self, findings: &DeviceFindings) -> (String, String) {
        let replay = self.replay;
        let memory = if replay.device == DeviceId::HOST {
            "pinned host memory"
        } else {
            "GPU memory"
        };
        let (peak_moment, peak) = replay.requested.peak();
        if peak == 0 && replay.reserved.peak().1 == 0 {
            let what = if replay.event_count() == 0 {
                "Nothing was recorded"
            } else {
                "No memory was in use"
            };
            return (
                format!("{what}: this file holds no allocations of {memory}."),
                "Recording may not have been on: call torch.cuda.memory._record_memory_history() before the work that is of interest.".to_owned(),
            );
        }
        if replay.event_count() == 0 {
            let reserved = units::bytes(replay.reserved.last());
            return (
                format!(
                    "{} of {memory} were in use and {reserved} reserved when this file was written.",
                    units::bytes(peak)
                ),
                "The file has no history, only the final state: recording was not on.".to_owned(),
            );
        }
        let largest = self.largest_category(peak_moment, peak);
        (
            format!(
                "{} of {memory} in use at the peak, {} reserved.{largest}",
                units::bytes(peak),
                units::bytes(findings.history.at_reserved_peak.reserved_bytes),
            ),
            match replay.unseen_peaks() {
                Some(unseen) => format!("No allocation failed while this was recorded. {unseen}"),
                None => "No allocation failed while this was recorded.".to_owned(),
            },
        )
    }

    /// A sentence on the category that holds most of the peak, if it could be told.
    fn largest_category(&self, moment: Moment, peak: u64) -> String {
        let Some(device) = self.device() else {
            return String::new();
        };
        let mut sums: std::collections::BTreeMap<_, (u64, bool)> =
            std::collections::BTreeMap::new();
        for id in self.replay.live_at(moment) {
            let (category, evidence) = device.category(id);
            if evidence != Evidence::Unknown {
                let sum = sums.entry(category).or_default();
                sum.0 = sum
                    .0
                    .saturating_add(self.replay.allocations.get(id).requested);
                sum.1 |= evidence == Evidence::Inferred;
            }
        }
        let largest = sums
            .into_iter()
            .max_by_key(|(category, (bytes, _))| (*bytes, std::cmp::Reverse(*category)));
        match largest {
            Some((category, (bytes, inferred))) => format!(
                " {} of it: {} ({}{}).",
                if bytes > peak / 2 {
                    "Most"
                } else {
                    "The largest part"
                },
                category.name().replace('_', " "),
                units::percent(bytes, peak),
                if inferred { ", inferred" } else { "" }
            ),
            None => String::new(),
        }
    }

    fn facts(&self, findings: &DeviceFindings) -> Vec<Fact> {
        let replay = self.replay;
        let history = &findings.history;
        let use_of = history.utilisation();
        let fact = |name, value, note, help| Fact {
            name,
            value,
            note,
            help,
        };
        let event = |moment: Moment| {
            if replay.event_count() == 0 {
                return "as the file was written".to_owned();
            }
            match moment.checked_sub(1) {
                Some(row) => format!("after event {}", units::count(u64::from(row))),
                None => "before the first event".to_owned(),
            }
        };
        let (peak_moment, peak) = replay.requested.peak();
        let reserved = &history.at_reserved_peak;
        let lost = history.at_worst.lost_bytes();
        let mut facts = vec![
            fact(
                "Requested, peak",
                units::bytes(peak),
                event(peak_moment),
                "The most bytes the program had asked for at once",
            ),
            fact(
                "Reserved, peak",
                units::bytes(reserved.reserved_bytes),
                event(history.reserved_peak_moment),
                "The most bytes PyTorch held from the driver",
            ),
            fact(
                "Utilisation",
                format!("{:.1} %", use_of.peak_over_peak * 100.0),
                format!(
                    "{:.1} % when most was reserved",
                    use_of.at_reserved_peak * 100.0
                ),
                "Highest active bytes over highest reserved bytes, each at its own moment (the figure of GMLake and STAlloc); below it, both at the moment of highest reserved bytes",
            ),
            fact(
                "Most lost at once",
                units::bytes(lost),
                event(history.worst_moment),
                "Bytes in no use that could not go back to the driver either: rounding, slack and split free. Segments that are free as a whole are not counted: they can go back",
            ),
            fact(
                "In use at the end",
                units::bytes(replay.requested.last()),
                format!("{} reserved", units::bytes(replay.reserved.last())),
                "Requested bytes still live when the file was written",
            ),
            fact(
                "Recorded",
                format!("{} events", units::count(u64::from(replay.event_count()))),
                if findings.clock.is_known() {
                    format!(
                        "{} allocations in {}",
                        units::count(replay.allocations.len() as u64),
                        units::duration_us(findings.clock.span_us())
                    )
                } else {
                    format!(
                        "{} allocations; no times",
                        units::count(replay.allocations.len() as u64)
                    )
                },
                "Events in the trace; allocations include those from before recording",
            ),
        ];
        facts.extend(self.highest_step());
        facts
    }

    fn highest_step(&self) -> Option<Fact> {
        let steps = &self.device()?.steps;
        let step = steps.steps.get(steps.highest()?)?;
        Some(Fact {
            name: "Highest step",
            value: format!("step {}", step.number),
            note: format!(
                "{} of {} steps, {}",
                units::bytes(step.peak_bytes),
                steps.steps.len(),
                steps.evidence.name()
            ),
            help: "The training step that reached the most requested bytes",
        })
    }
}

/// What happened, in a sentence.
fn lead_of(verdict: &OomVerdict) -> String {
    let evidence = &verdict.evidence;
    let wanted = evidence.asked();
    let has_segment = evidence.driver_request_bytes > evidence.requested_bytes;
    let wanted = if has_segment {
        format!("asked for {wanted}")
    } else {
        format!("{wanted} were asked for")
    };
    let device_free = units::bytes(evidence.device_free_bytes);
    let largest = units::bytes(evidence.compatible_largest_bytes);
    match verdict.class {
        OomClass::Capacity => format!(
            "{wanted}, and only {} were free in all: {} in use, {device_free} left on the GPU.",
            units::bytes(evidence.free_in_all_bytes()),
            units::bytes(evidence.parts.active_bytes()),
        ),
        OomClass::RequestTooBig => format!(
            "one request of {}, more than the {} PyTorch could have had in all.",
            units::bytes(evidence.requested_bytes),
            units::bytes(evidence.reachable_bytes())
        ),
        OomClass::OutsidePyTorch => format!(
            "{wanted}, with {device_free} free, while {} are held outside PyTorch.",
            units::bytes(evidence.outside_bytes.unwrap_or(0))
        ),
        OomClass::Limit => {
            format!("{wanted}, and the GPU had {device_free} free: a limit, not a lack of memory.")
        }
        _ => format!(
            "{wanted}, and {} were free inside PyTorch, but the largest gap it could use is {largest}.",
            units::bytes(evidence.parts.free_bytes())
        ),
    }
}

fn missing_of(verdict: &OomVerdict) -> String {
    let missing = units::bytes(verdict.missing_bytes);
    match verdict.class {
        OomClass::Limit => "Enough was free.".to_owned(),
        class if class.is_fragmentation() => {
            format!("{missing} more free on the GPU would have been enough.")
        }
        _ => format!("{missing} were missing, even with all free memory in one piece."),
    }
}

fn evidence_rows(evidence: &OomEvidence) -> Vec<EvidenceRow> {
    let row = |name, bytes: u64, note| EvidenceRow {
        name,
        value: units::bytes(bytes),
        exact: format!("{} bytes", units::count(bytes)),
        note,
    };
    let mut rows = vec![
        row(
            "asked for",
            evidence.requested_bytes,
            "rounded by the allocator",
        ),
        row(
            "asked of the driver",
            evidence.driver_request_bytes,
            "whole segments or pages",
        ),
        row(
            "free on the GPU",
            evidence.device_free_bytes,
            "cudaMemGetInfo, all processes",
        ),
        row(
            "reserved by PyTorch",
            evidence.parts.reserved_bytes,
            "what it holds from the driver",
        ),
        row(
            "– in use",
            evidence.parts.active_bytes(),
            "allocated, or pending for a stream",
        ),
        row(
            "– free",
            evidence.parts.free_bytes(),
            "of every stream, pool and size",
        ),
        row(
            "usable for this request",
            evidence.compatible_free_bytes,
            "free, same stream, pool and size class",
        ),
        row(
            "– largest piece of it",
            evidence.compatible_largest_bytes,
            "would have to hold the request",
        ),
    ];
    if evidence.other_stream_free_bytes > 0 {
        rows.push(row(
            "free on other streams",
            evidence.other_stream_free_bytes,
            "not usable for this stream",
        ));
    }
    if evidence.other_pool_free_bytes > 0 {
        rows.push(row(
            "free in other pools",
            evidence.other_pool_free_bytes,
            "CUDA graphs, MemPool",
        ));
    }
    if let Some(outside) = evidence.outside_bytes {
        rows.push(row(
            "outside PyTorch",
            outside,
            "CUDA context, libraries, other processes",
        ));
    }
    rows
}
