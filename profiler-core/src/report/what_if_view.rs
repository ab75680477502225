//! The what-if section in words and numbers.

use crate::allocator::{Candidate, DeviceAdvice};
use crate::units;

use super::what_if::{Simulated, WhatIfFindings};

/// The section for one device.
#[derive(Default)]
pub(super) struct WhatIfView {
    /// Whether there is anything to say at all.
    pub(super) is_shown: bool,
    /// Whether there are numbers.
    pub(super) is_simulated: bool,
    pub(super) lead: String,
    pub(super) note: String,
    /// The environment line to paste; empty if no setting is advised.
    pub(super) environment: String,
    /// Heading of the column on the capacity in question; empty without one.
    pub(super) capacity: String,
    pub(super) settings: Vec<SettingRow>,
    pub(super) left_out: String,
    pub(super) bracket: Vec<BracketRow>,
    pub(super) bracket_note: String,
    pub(super) fidelity: String,
    pub(super) assumptions: Vec<String>,
}

/// One setting.
pub(super) struct SettingRow {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) is_recorded: bool,
    pub(super) is_shown: bool,
    pub(super) is_best: bool,
    pub(super) peak: String,
    pub(super) exact: String,
    pub(super) change: String,
    pub(super) runs_from: String,
    pub(super) driver_calls: String,
    pub(super) outcome: String,
    pub(super) fails: bool,
}

/// One line of the bracket, with a bar.
pub(super) struct BracketRow {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) exact: String,
    pub(super) note: &'static str,
    /// Of 1000.
    pub(super) width: u64,
    pub(super) class: &'static str,
}

/// The section's texts; `shown` makes text from the file fit to be seen.
pub(super) fn view(findings: &WhatIfFindings, shown: &dyn Fn(&str) -> String) -> WhatIfView {
    match findings {
        WhatIfFindings::NoHistory => WhatIfView::default(),
        WhatIfFindings::LeftOut => WhatIfView {
            is_shown: true,
            lead: "Not simulated: the page tries settings on eight devices at most.".to_owned(),
            note: "The command gpumemprof advise tries them on all.".to_owned(),
            ..WhatIfView::default()
        },
        WhatIfFindings::Unexplained(first) => WhatIfView {
            is_shown: true,
            lead: "Not simulated: the model of PyTorch's allocator does not explain this \
                   recording, so no number here would rest on anything."
                .to_owned(),
            note: format!(
                "{} The command gpumemprof simulate runs the recording all the same and says how \
                 much of it agrees.",
                match first {
                    Some(first) => format!(
                        "They first differ at event {}: {}.",
                        units::count(u64::from(first.event)),
                        shown(&first.explanation)
                    ),
                    None => "Too much of the trace contradicts the rest of it.".to_owned(),
                }
            ),
            ..WhatIfView::default()
        },
        WhatIfFindings::Simulated(simulated) => simulated_view(simulated, shown),
    }
}

fn simulated_view(simulated: &Simulated, shown: &dyn Fn(&str) -> String) -> WhatIfView {
    let advice = &simulated.advice;
    let recorded_peak = advice
        .recorded_candidate()
        .map_or(0, |candidate| candidate.simulated.reserved_peak_bytes);
    let best = advice.best_candidate();
    let row = |(index, candidate): (usize, &Candidate)| {
        let peak = candidate.simulated.reserved_peak_bytes;
        SettingRow {
            index,
            name: if candidate.conf.is_empty() {
                "(defaults)".to_owned()
            } else {
                shown(&candidate.conf)
            },
            is_recorded: candidate.is_recorded,
            is_shown: index == simulated.shown,
            is_best: Some(candidate) == best,
            peak: units::bytes(peak),
            exact: format!("{} bytes", units::count(peak)),
            change: change(peak, recorded_peak),
            runs_from: candidate
                .smallest_capacity_bytes
                .map_or_else(|| "–".to_owned(), units::bytes),
            driver_calls: units::count(candidate.driver_calls()),
            outcome: outcome(candidate),
            fails: candidate.fails_at_capacity(),
        }
    };
    WhatIfView {
        is_shown: true,
        is_simulated: true,
        lead: advice.verdict.clone(),
        note: evidence(advice),
        environment: advice
            .best
            .as_ref()
            .map(|best| shown(&format!("export {}", best.environment)))
            .unwrap_or_default(),
        capacity: advice
            .capacity_bytes
            .map_or_else(String::new, |bytes| format!("in {}", units::bytes(bytes))),
        settings: advice.candidates.iter().enumerate().map(row).collect(),
        left_out: left_out(advice),
        bracket: bracket(advice),
        bracket_note: bracket_note(advice),
        fidelity: format!(
            "Fidelity 100 %: run under the recorded settings, the model puts all {} allocations \
             where the recording has them, with every segment event the same.",
            units::count(simulated.placed)
        ),
        assumptions: simulated
            .assumptions
            .iter()
            .map(|text| shown(text))
            .collect(),
    }
}

/// `−1.25 GiB`.
fn change(now: u64, before: u64) -> String {
    if now == before {
        return "=".to_owned();
    }
    let sign = if now > before { "+" } else { "−" };
    format!("{sign}{}", units::bytes(now.abs_diff(before)))
}

fn outcome(candidate: &Candidate) -> String {
    let Some(run) = &candidate.at_capacity else {
        return String::new();
    };
    match (run.oom_event, run.alloc_retries) {
        (Some(event), _) => format!("out of memory at event {}", units::count(u64::from(event))),
        (None, 0) => "runs".to_owned(),
        (None, 1) => "runs after a retry".to_owned(),
        (None, retries) => format!("runs after {} retries", units::count(retries)),
    }
}

/// The numbers behind the verdict.
fn evidence(advice: &DeviceAdvice) -> String {
    let (Some(recorded), Some(best)) = (advice.recorded_candidate(), advice.best_candidate())
    else {
        return String::new();
    };
    let mut text = String::new();
    if let (Some(capacity), Some(run)) = (advice.capacity_bytes, &best.at_capacity)
        && recorded.fails_at_capacity()
    {
        text = format!(
            "In the {} that PyTorch had when it failed, every recorded request up to and with the \
             one that failed is served, with at most {} reserved. ",
            units::bytes(capacity),
            units::bytes(run.reserved_peak_bytes)
        );
    }
    text.push_str(&format!(
        "Without a limit the peak is {} instead of {}, with {} calls of the driver instead of {}.",
        units::bytes(best.simulated.reserved_peak_bytes),
        units::bytes(recorded.simulated.reserved_peak_bytes),
        units::count(best.driver_calls()),
        units::count(recorded.driver_calls()),
    ));
    text
}

fn left_out(advice: &DeviceAdvice) -> String {
    let mut parts = Vec::new();
    if advice.settings_not_tried > 0 {
        parts.push(format!(
            "{} less promising settings are not tried here",
            advice.settings_not_tried
        ));
    }
    let searched = |candidate: &Candidate| candidate.smallest_capacity_bytes.is_some();
    if !advice.candidates.iter().all(searched) {
        parts.push("a smallest capacity of – was not searched for".to_owned());
    }
    if parts.is_empty() {
        return String::new();
    }
    format!(
        "The recording is long: {}. The command gpumemprof advise does it all.",
        parts.join(", and ")
    )
}

fn bracket(advice: &DeviceAdvice) -> Vec<BracketRow> {
    let recorded = advice.recorded_candidate();
    let smallest = |candidate: Option<&Candidate>| candidate?.smallest_capacity_bytes;
    let best = advice.best_candidate();
    let lines = [
        (
            "most bytes live at once".to_owned(),
            Some(advice.bound.load_bytes),
            "no allocator can do with less",
            "bracket-bound",
        ),
        (
            "packed, the future known".to_owned(),
            Some(advice.bound.packing_bytes),
            "a placement was found: so much is possible",
            "bracket-bound",
        ),
        (
            "runs from, advised settings".to_owned(),
            smallest(best),
            "the smallest capacity that serves everything recorded",
            "bracket-best",
        ),
        (
            "runs from, recorded settings".to_owned(),
            smallest(recorded),
            "the smallest capacity that serves everything recorded",
            "bracket-recorded",
        ),
        (
            "peak, recorded settings, no limit".to_owned(),
            recorded.map(|candidate| candidate.simulated.reserved_peak_bytes),
            "what is reserved where nothing has to be given back",
            "bracket-recorded",
        ),
        (
            "capacity when it failed".to_owned(),
            advice.capacity_bytes,
            "what PyTorch held and the device had free",
            "bracket-capacity",
        ),
    ];
    let most = lines
        .iter()
        .filter_map(|line| line.1)
        .max()
        .unwrap_or(0)
        .max(1);
    let row = |(name, value, note, class): (String, Option<u64>, &'static str, &'static str)| {
        let value = value?;
        Some(BracketRow {
            name,
            value: units::bytes(value),
            exact: format!("{} bytes", units::count(value)),
            note,
            width: (u128::from(value) * 1000 / u128::from(most)) as u64,
            class,
        })
    };
    lines.into_iter().filter_map(row).collect()
}

fn bracket_note(advice: &DeviceAdvice) -> String {
    let (sure, most) = advice.avoidable_bytes();
    let mut text = if most == 0 {
        "Nothing of the peak can be avoided by any allocator.".to_owned()
    } else if sure == most {
        format!(
            "Of the peak under the recorded settings {} are avoidable in principle, and not more.",
            units::bytes(most)
        )
    } else {
        format!(
            "Of the peak under the recorded settings at least {} are avoidable in principle, and \
             at most {}.",
            units::bytes(sure),
            units::bytes(most)
        )
    };
    if advice.bound.counts_failed_requests {
        text.push_str(" The request that failed is counted.");
    }
    text
}
