//! `gpumemprof oom FILE`: the verdict on each out-of-memory error, and what to change.

use std::borrow::Cow;
use std::io::Read as _;

use profiler_core::attribution::{Attribution, frame_label};
use profiler_core::metrics::{Outside, OutsidePoint};
use profiler_core::oom::{
    Advice, Certainty, MAX_JUDGED, OomContext, OomVerdict, judge_all, oom_events,
};
use profiler_core::read::ReadError;
use profiler_core::replay::Replay;
use profiler_core::snapshot::{DeviceId, NO_TIME, RunFacts, RunFailure, Snapshot};
use profiler_core::units;
use serde::Serialize;

use crate::args::OomArguments;
use crate::output::{Align, JsonWarning};
use crate::{CommandError, input, output};

/// The JSON form, schema `gpumemprof.oom/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    ooms: Vec<Failure>,
    /// Earlier failures that were not judged, there being more than [`MAX_JUDGED`] on a device.
    not_judged: u64,
    /// The process and its surroundings, if a recorder told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunFacts>,
    /// Its rank, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<u64>,
    /// A failure that the recorder told of and no event is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    elsewhere: Option<Elsewhere<'a>>,
    warnings: Vec<JsonWarning<'a>>,
}

/// A failure that PyTorch's allocator did not raise, or that is older than the history.
#[derive(Serialize)]
struct Elsewhere<'a> {
    context: OomContext,
    failure: &'a RunFailure,
}

/// One failure.
#[derive(Serialize)]
struct Failure {
    device: i32,
    title: &'static str,
    /// What was asked for, in words.
    asked: String,
    /// The cleaned stack of the request, innermost first.
    stack: Vec<String>,
    #[serde(flatten)]
    verdict: OomVerdict,
    advice: Vec<Advice>,
    /// Where the program was, with which batch, and what became of it, if the recorder told that.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<OomContext>,
    /// What lay outside PyTorch at the nearest look that has a figure, if the recorder watched the
    /// device.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside_pytorch: Option<OutsidePoint>,
}

/// Prints every verdict.
pub(super) fn run(arguments: &OomArguments) -> Result<(), CommandError> {
    // Once: a pipe cannot be read again.
    let bytes = input::FileBytes::open(&arguments.input.file)?;
    let (snapshot, replay) = match input::load_from(&arguments.input, &bytes) {
        Ok(loaded) => loaded,
        Err(error) => return run_on_text(arguments, &bytes, error),
    };
    drop(bytes);
    input::check_device_total(arguments.device_total, &replay)?;
    let attribution = Attribution::new(&snapshot, &replay);
    let file = arguments.input.file.display().to_string();
    let total = arguments.device_total;
    let report = gather(&file, &snapshot, &replay, &attribution, total);
    if arguments.json {
        return output::json(&report);
    }
    output::warn(&[&snapshot.warnings, &replay.warnings]);
    if let Some(elsewhere) = &report.elsewhere {
        print_elsewhere(elsewhere)?;
    }
    if report.ooms.is_empty() {
        return output::line(if report.elsewhere.is_some() {
            "no such error is among the events of this file"
        } else {
            "no out-of-memory error was recorded in this file"
        });
    }
    if report.not_judged > 0 {
        output::line(&format!(
            "{} earlier failures are not shown: only the last {MAX_JUDGED} of a device are judged",
            report.not_judged
        ))?;
    }
    report.ooms.iter().try_for_each(print)
}

fn gather<'a>(
    file: &str,
    snapshot: &'a Snapshot,
    replay: &'a Replay,
    attribution: &Attribution,
    device_total: Option<u64>,
) -> Report<'a> {
    let context = snapshot.context.as_deref();
    let elsewhere = OomContext::elsewhere(snapshot);
    Report {
        schema: "gpumemprof.oom/1",
        file: file.to_owned(),
        run: context
            .map(|context| &context.run)
            .filter(|run| !run.is_empty()),
        rank: context.and_then(|context| context.rank),
        elsewhere: elsewhere.map(|(context, failure)| Elsewhere { context, failure }),
        ooms: failures(snapshot, replay, attribution, device_total),
        not_judged: not_judged(snapshot, replay),
        warnings: output::json_warnings(snapshot, &replay.warnings),
    }
}

/// What `gpumemprof oom --json` prints.
pub(crate) fn document(
    file: &str,
    snapshot: &Snapshot,
    replay: &Replay,
    attribution: &Attribution,
    device_total: Option<u64>,
) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(gather(file, snapshot, replay, attribution, device_total))
}

/// A file that is no snapshot may be a log.
fn run_on_text(
    arguments: &OomArguments,
    bytes: &[u8],
    error: CommandError,
) -> Result<(), CommandError> {
    let source = match &error {
        CommandError::Read { source, .. } => source,
        _ => return Err(error),
    };
    let is_text = matches!(
        source,
        ReadError::NotASnapshot { .. }
            | ReadError::Json { .. }
            | ReadError::UnknownOpcode { .. }
            | ReadError::Malformed { .. }
            | ReadError::Truncated { .. }
            | ReadError::NoSnapshot { .. }
            | ReadError::ForbiddenOpcode { .. }
            | ReadError::Unpack { .. }
    );
    if !is_text {
        return Err(error);
    }
    let path = &arguments.input.file;
    let Some(text) = text_of(bytes) else {
        return Err(error);
    };
    let messages = profiler_core::oom::find_messages(&text);
    if !messages.is_empty() {
        return super::oom_log::run(arguments, messages);
    }
    if looks_like_a_log(source, &text) {
        return Err(CommandError::NotThere(format!(
            "{}: there is no out-of-memory message in this text, and it is no memory snapshot",
            path.display()
        )));
    }
    Err(error)
}

/// Whether a text that `error` says is no snapshot was given as a log, rather than as a damaged
/// snapshot in JSON, HTML or a pickle of protocol 0, whose errors say more.
fn looks_like_a_log(error: &ReadError, text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let head: String = text.chars().take(1024).collect();
    let is_text = !head.contains(|c: char| {
        c == char::REPLACEMENT_CHARACTER || c.is_control() && !c.is_whitespace() && c != '\u{1b}'
    });
    let is_data = match head.get(..2) {
        Some("[[" | "[]" | "[{" | "[\"") => true,
        _ if head.starts_with("(dp") || head.starts_with("(lp") => true,
        _ => head.starts_with(['{', '<']) || head.starts_with("[") && text_after(&head).is_none(),
    };
    let is_forbidden = matches!(error, ReadError::ForbiddenOpcode { .. });
    is_text && !is_data && !is_forbidden
}

/// The letter or digit right after a `[`, as log prefixes have: `[rank0]`, `[2026-11-23 …]`.
fn text_after(head: &str) -> Option<char> {
    head.chars().nth(1).filter(|c| c.is_alphanumeric())
}

/// The most bytes of a compressed log looked at.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// `bytes` as text: also UTF-16, as Windows shells write, and in gzip. None if it is none.
fn text_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let wide = |read: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let units = pairs.iter().map(|&pair| read(pair));
        let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        text.collect::<String>()
    };
    match bytes {
        [0x1f, 0x8b, ..] => {
            let mut unpacked = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
            (&mut decoder).take(4096).read_to_end(&mut unpacked).ok()?;
            // Packed twice is no log, and what is no text need not be unpacked.
            let is_packed = unpacked.starts_with(&[0x1f, 0x8b]);
            if is_packed || text_of(&unpacked).is_none() {
                return None;
            }
            decoder
                .take(MAX_LOG_BYTES)
                .read_to_end(&mut unpacked)
                .ok()?;
            let text = text_of(&unpacked);
            text.map(|text| Cow::Owned(text.into_owned()))
        }
        [0xff, 0xfe, rest @ ..] => Some(Cow::Owned(wide(u16::from_le_bytes, rest))),
        [0xfe, 0xff, rest @ ..] => Some(Cow::Owned(wide(u16::from_be_bytes, rest))),
        _ => {
            let start = bytes.get(..4096).unwrap_or(bytes);
            (!start.contains(&0)).then(|| String::from_utf8_lossy(bytes))
        }
    }
}

fn not_judged(snapshot: &Snapshot, replay: &Replay) -> u64 {
    let devices = replay.devices.iter();
    let accelerators = devices.filter(|device| device.device != DeviceId::HOST);
    accelerators
        .map(|device| {
            oom_events(snapshot, device)
                .len()
                .saturating_sub(MAX_JUDGED) as u64
        })
        .sum()
}

fn failures(
    snapshot: &Snapshot,
    replay: &Replay,
    attribution: &Attribution,
    device_total: Option<u64>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for device in &replay.devices {
        let outside = Outside::new(snapshot, device);
        let events = snapshot.trace(device.device).map(|trace| &trace.events);
        for (verdict, advice) in judge_all(snapshot, device, attribution, device_total) {
            let row = verdict.evidence.event as usize;
            let time = events.map(|events| events.time_us(row));
            let time = time.filter(|&time| time != NO_TIME);
            let frames = attribution
                .clean
                .frames(&snapshot.stacks, verdict.evidence.stack);
            let stack = frames
                .iter()
                .map(|clean| frame_label(snapshot, clean.frame))
                .collect();
            let seen = outside.as_ref().zip(time);
            let moment = verdict.evidence.event.saturating_add(1);
            failures.push(Failure {
                device: device.device.0,
                title: verdict.class.title(),
                asked: verdict.evidence.asked(),
                stack,
                context: OomContext::of(snapshot, device.device, verdict.evidence.event),
                verdict,
                advice,
                outside_pytorch: seen
                    .and_then(|(outside, time)| outside.nearest(time, device.reserved.at(moment))),
            });
        }
    }
    failures
}

/// Where it was in one line, and what was different and became of it in another.
fn print_context(context: &OomContext) -> Result<(), CommandError> {
    let (mut place, mut rest) = (Vec::new(), Vec::new());
    for (name, text) in context.rows() {
        match name {
            "outcome" => rest.push(text),
            "since the last step" => rest.push(format!("{name}: {text}")),
            _ => place.push(format!("{name} {text}")),
        }
    }
    for parts in [place, rest] {
        if !parts.is_empty() {
            output::item("  ", &parts.join("; "))?;
        }
    }
    Ok(())
}

/// The failure that no event is of.
fn print_elsewhere(elsewhere: &Elsewhere<'_>) -> Result<(), CommandError> {
    output::heading("out of memory, as the recorder was told")?;
    if let Some(message) = &elsewhere.failure.message {
        for line in message.lines().take(20) {
            output::item("  ", line)?;
        }
    }
    if let Some(bytes) = elsewhere.failure.driver_request_bytes {
        output::item(
            "  ",
            &format!("{} asked of the driver", units::bytes(bytes)),
        )?;
    }
    print_context(&elsewhere.context)?;
    output::line("")
}

fn print(failure: &Failure) -> Result<(), CommandError> {
    let evidence = &failure.verdict.evidence;
    output::heading(&format!(
        "device {}, event {}: {}",
        failure.device, evidence.event, failure.title
    ))?;
    if evidence.driver_request_bytes > evidence.requested_bytes {
        output::item(" ", &format!("asked for {}", failure.asked))?;
    }
    let bytes = units::bytes;
    let largest =
        |what: u64, largest: u64| format!("{} (largest gap {})", bytes(what), bytes(largest));
    let mut rows = vec![
        ("asked for", bytes(evidence.requested_bytes)),
        ("asked of the driver", bytes(evidence.driver_request_bytes)),
        ("driver had free", bytes(evidence.device_free_bytes)),
        ("PyTorch had reserved", bytes(evidence.parts.reserved_bytes)),
        ("  in use", bytes(evidence.parts.allocated_bytes())),
        (
            "  freed, other streams pending",
            bytes(evidence.parts.pending_bytes),
        ),
        (
            "  free for this request",
            largest(
                evidence.compatible_free_bytes,
                evidence.compatible_largest_bytes,
            ),
        ),
        (
            "  free for other streams",
            largest(
                evidence.other_stream_free_bytes,
                evidence.other_stream_largest_bytes,
            ),
        ),
        (
            "  free in other pools",
            largest(
                evidence.other_pool_free_bytes,
                evidence.other_pool_largest_bytes,
            ),
        ),
        (
            "  free in the other size class",
            bytes(evidence.other_kind_free_bytes),
        ),
        ("missing at least", bytes(failure.verdict.missing_bytes)),
    ];
    if let Some(outside) = evidence.outside_bytes {
        rows.insert(3, ("outside PyTorch", bytes(outside)));
    }
    if let Some(seen) = &failure.outside_pytorch {
        let parts = [
            ("this process outside PyTorch", seen.outside_bytes),
            ("other processes on the device", seen.others_bytes),
        ];
        rows.extend(
            parts
                .into_iter()
                .filter_map(|(name, size)| Some((name, bytes(size?)))),
        );
    }
    let cells = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    output::table(&[("", Align::Left), ("", Align::Right)], cells)?;
    if !failure.stack.is_empty() {
        output::line("")?;
        output::heading("asked by")?;
        for frame in failure.stack.iter().take(8) {
            output::line(&format!("  {frame}"))?;
        }
    }
    if let Some(context) = &failure.context {
        output::line("")?;
        output::heading("in the run")?;
        print_context(context)?;
    }
    output::line("")?;
    output::heading("what would help")?;
    for (at, advice) in failure.advice.iter().enumerate() {
        let frees = match advice.certainty {
            Certainty::Exact if advice.is_enough => None,
            Certainty::Exact => Some(bytes(advice.frees_bytes)),
            Certainty::UpperBound => Some(format!("up to {}", bytes(advice.frees_bytes))),
            Certainty::Simulated => Some("simulated".to_owned()),
        };
        let enough = advice
            .is_enough
            .then(|| "enough for this request".to_owned());
        let facts: Vec<String> = frees.into_iter().chain(enough).collect();
        output::item(
            &format!("{}. ", at + 1),
            &format!("{} ({})", advice.title, facts.join(", ")),
        )?;
        output::item("   ", &advice.detail)?;
        if let Some(setting) = &advice.setting {
            output::line(&format!("   export {setting}"))?;
        }
    }
    output::line("")
}
