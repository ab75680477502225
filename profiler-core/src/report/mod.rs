//! The report: one HTML page that needs nothing else.
//!
//! [`html`] writes it. The page holds its data as JSON, its script and its style; it opens without
//! a network, runs no script but its own (by content security policy), and is below
//! [`MAX_BYTES`] whatever the recording's length: what does not fit is summed exactly and named.
//! The same input gives the same bytes.

mod allocations;
mod budget;
mod chart;
mod clock;
mod columns;
mod device_data;
mod kept;
mod labels;
mod layers;
mod maps;
mod moments;
mod outside;
mod page;
mod page_data;
mod ranges;
mod run;
mod stacks;
mod summary;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod text;
mod what_if;
mod what_if_columns;
mod what_if_view;

pub use budget::MAX_BYTES;

use askama::Template as _;

use crate::attribution::Attribution;
use crate::redact::Redactor;
use crate::replay::{DeviceReplay, Replay};
use crate::snapshot::{DeviceId, Snapshot, Warnings};
use crate::units;

use budget::Budget;
use device_data::{DeviceData, DeviceFindings, device_data};
use labels::Labels;
use page::{DeviceView, Page};
use page_data::PageData;
use run::RunTexts;
use summary::Subject;
use what_if::WhatIfFindings;

/// What a report is made from: the replay and the attribution of the same snapshot.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// The file.
    pub snapshot: &'a Snapshot,
    /// Its replay.
    pub replay: &'a Replay,
    /// Its attribution.
    pub attribution: &'a Attribution,
    /// The memory of a whole device in bytes, if known from outside the file. With it the OOM
    /// verdict can tell what lies outside PyTorch.
    pub device_total_bytes: Option<u64>,
}

/// How a report is made.
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    /// The page's title: the file's name.
    pub title: String,
    /// Whether paths, user and host names are replaced ([`Redactor`]).
    pub redact: bool,
    /// The device shown first; None for the one with an OOM, else the one that used most.
    pub device: Option<DeviceId>,
}

/// Writes the report as one HTML page of fewer than [`MAX_BYTES`] bytes.
#[must_use]
pub fn html(input: &ReportInput<'_>, options: &ReportOptions) -> String {
    let redactor = options.redact.then(|| Redactor::new(input.snapshot));
    let what_if = what_if::gather(input.snapshot, &input.replay.devices);
    let mut budget = Budget::FIRST;
    loop {
        let page = write(input, options, redactor.as_ref(), &what_if, budget);
        // Below one allocation and sixteen moments only fixed text is left.
        if page.len() < MAX_BYTES || budget.allocations == 0 && budget.devices == 1 {
            return page;
        }
        budget = budget.halved();
    }
}

/// Settings shown at most; PyTorch writes some twelve.
const MAX_SETTINGS: usize = 200;

fn write(
    input: &ReportInput<'_>,
    options: &ReportOptions,
    redactor: Option<&Redactor>,
    what_if: &[WhatIfFindings],
    budget: Budget,
) -> String {
    let labels = Labels {
        snapshot: input.snapshot,
        attribution: input.attribution,
    };
    let mut data = PageData::new(labels, redactor, budget);
    let weight = |replay: &DeviceReplay| {
        u64::from(replay.event_count()) + replay.allocations.len() as u64 + 1
    };
    let mut chosen: Vec<_> = input.replay.devices.iter().zip(what_if).collect();
    let all_devices = chosen.len();
    chosen.sort_by_key(|(replay, _)| (std::cmp::Reverse(weight(replay)), replay.device));
    chosen.truncate(budget.devices);
    chosen.sort_by_key(|(replay, _)| replay.device);
    let replays: Vec<&DeviceReplay> = chosen.iter().map(|(replay, _)| *replay).collect();
    let whole: u64 = replays.iter().map(|replay| weight(replay)).sum();
    let mut devices = Vec::new();
    let mut views = Vec::new();
    for (index, &(replay, what_if)) in chosen.iter().enumerate() {
        let share = budget.share(weight(replay), whole);
        let known = input.attribution.device(replay.device);
        let (device, findings) = device_data(&mut data, replay, known, what_if, share);
        let subject = Subject {
            snapshot: input.snapshot,
            replay,
            attribution: input.attribution,
            device_total_bytes: input.device_total_bytes,
            redactor,
        };
        let mut view = device_view(&subject, &device, &findings, index < budget.charts);
        view.what_if = what_if_view::view(what_if, &|text| data.texts.shown(text));
        views.push(view);
        devices.push(device);
    }
    let first = first_device(&replays, &views, options.device);
    if let Some(view) = views.get_mut(first) {
        view.is_first = true;
    }
    let shown = |text: &str| data.texts.shown(text);
    let settings = input
        .snapshot
        .settings
        .iter()
        .flat_map(|settings| &settings.entries);
    let settings = settings
        .take(MAX_SETTINGS)
        .map(|(name, value)| (shown(name), shown(value)))
        .collect();
    let mut warnings = warnings([&input.snapshot.warnings, &input.replay.warnings], shown);
    if all_devices > replays.len() {
        let left_out = (all_devices - replays.len()) as u64;
        warnings.push((
            "Devices with less memory are not in this page".to_owned(),
            left_out,
        ));
    }
    let title = shown(&options.title);
    let run = RunTexts { redactor };
    let json = serde_json::to_string(&data.finish(devices, redactor.is_some())).unwrap_or_default();
    let (style, script) = (page::style(), page::script());
    let page = Page {
        policy: page::policy(&style, &script),
        title,
        data: text::escape_json(&json),
        devices: views,
        format: format!(
            "written by PyTorch {}",
            input.snapshot.features.torch_format()
        ),
        settings,
        elsewhere: run.elsewhere(input.snapshot),
        run: run.run(input.snapshot),
        warnings,
        redacted: redactor.is_some(),
        version: env!("CARGO_PKG_VERSION"),
        style,
        script,
    };
    // Writing to a string fails only if a template's value does, and none of these can.
    page.render().unwrap_or_default()
}

fn device_view(
    subject: &Subject<'_>,
    data: &DeviceData,
    findings: &DeviceFindings,
    has_chart: bool,
) -> DeviceView {
    let replay = subject.replay;
    let title = if replay.device == DeviceId::HOST {
        "pinned host memory".to_owned()
    } else {
        format!("GPU {}", replay.device)
    };
    let peak = units::bytes(replay.requested.peak().1);
    let mut view = DeviceView::new(
        replay.device.to_string(),
        title,
        peak,
        subject.summary(findings),
    );
    view.left_out = data.left_out();
    view.outside = outside::outside_view(subject);
    let ooms = findings.named.iter().filter(|named| named.kind == "oom");
    let ooms: Vec<_> = ooms.map(|named| named.moment).collect();
    if has_chart
        && let Some(chart) =
            chart::fragmentation_chart(&findings.parts, replay.event_count(), &ooms)
    {
        view.chart = chart;
        view.has_chart = true;
        view.chart_note =
            "Each column shows the kept moment within it that lost the most; a red line is an OOM."
                .to_owned();
    }
    view
}

/// The device asked for, else the first with an OOM, else the one that used most.
fn first_device(
    replays: &[&DeviceReplay],
    views: &[DeviceView],
    wanted: Option<DeviceId>,
) -> usize {
    let place = |device: DeviceId| replays.iter().position(|replay| replay.device == device);
    let asked = wanted.and_then(place);
    let failed = || views.iter().position(|view| !view.ooms.is_empty());
    let rank = |replay: &DeviceReplay| (replay.device != DeviceId::HOST, replay.requested.peak().1);
    let busiest = || {
        (0..replays.len())
            .rev()
            .max_by_key(|&index| replays.get(index).map(|r| rank(r)))
    };
    asked.or_else(failed).or_else(busiest).unwrap_or(0)
}

fn warnings(sources: [&Warnings; 2], shown: impl Fn(&str) -> String) -> Vec<(String, u64)> {
    let listed = sources.iter().flat_map(|warnings| warnings.all());
    let mut list: Vec<_> = listed
        .map(|warning| (shown(&warning.message), warning.count))
        .collect();
    let dropped: u64 = sources.iter().map(|warnings| warnings.dropped()).sum();
    if dropped > 0 {
        list.push((
            "Further oddities of other kinds, not listed".to_owned(),
            dropped,
        ));
    }
    list
}
