//! Advice about how free memory is arranged: gaps, streams, pools.

use std::ops::ControlFlow;

use crate::allocator::{Dialect, Recording, WhatIf, environment_line, simulate_recordings};
use crate::oom::{OomClass, OomVerdict, oom_events};
use crate::replay::DeviceReplay;
use crate::snapshot::{DeviceId, Snapshot};
use crate::units;

use super::{Advice, Certainty, advice};

/// Advice about how free memory is arranged.
pub(super) fn arrangement(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    verdict: &OomVerdict,
    list: &mut Vec<Advice>,
) {
    let evidence = &verdict.evidence;
    let parts = &evidence.parts;
    if !verdict.class.is_fragmentation() && verdict.class != OomClass::Capacity {
        return;
    }
    if !evidence.expandable_segments && evidence.compatible_free_bytes > 0 {
        list.push(expandable(snapshot, replay, verdict));
    }
    if parts.pending_bytes > 0 {
        list.push(advice(
            "Let other streams finish before the large request",
            format!(
                "{} were freed but still waited for another stream (record_stream). A \
                 synchronisation before this point makes them usable.",
                units::bytes(parts.pending_bytes)
            ),
            parts.pending_bytes,
            Certainty::Exact,
        ));
    }
    if evidence.other_stream_free_bytes > 0 {
        list.push(advice(
            "Allocate on the stream that uses the memory",
            format!(
                "{} lie free for other streams, the largest gap {}. Memory freed on one stream \
                 is kept for that stream; allocate large tensors on the main stream, or call \
                 torch.cuda.empty_cache() once after warm-up of the side stream.",
                units::bytes(evidence.other_stream_free_bytes),
                units::bytes(evidence.other_stream_largest_bytes),
            ),
            evidence.other_stream_free_bytes,
            Certainty::Exact,
        ));
    }
    if evidence.other_pool_free_bytes > 0 {
        list.push(advice(
            "Share or release private memory pools",
            format!(
                "{} lie free in other memory pools (CUDA graphs, MemPool), where this request \
                 cannot go. Capture graphs into one pool, or delete graphs no longer replayed.",
                units::bytes(evidence.other_pool_free_bytes)
            ),
            evidence.other_pool_free_bytes,
            Certainty::Exact,
        ));
    }
}

/// Advice on expandable segments: by simulation where the recording can be replayed exactly,
/// else by the free bytes that could join.
fn expandable(snapshot: &Snapshot, replay: &DeviceReplay, verdict: &OomVerdict) -> Advice {
    const OPTION: &str = "expandable_segments:True";
    let evidence = &verdict.evidence;
    let stranded = evidence.compatible_free_bytes;
    let gaps = format!(
        "{} lie free in {} gaps of the right stream and pool, the largest {}. With expandable \
         segments a segment grows in place, so that such gaps can join.",
        units::bytes(stranded),
        evidence.compatible_gaps,
        units::bytes(evidence.compatible_largest_bytes),
    );
    let setting = set_conf(snapshot, OPTION);
    let conf = setting.split_once('=').map_or("", |(_, conf)| conf);
    let is_first = oom_events(snapshot, replay).first() == Some(&evidence.event);
    let outcome = is_first
        .then(|| outcome_with(snapshot, replay.device, conf))
        .flatten();
    let mut found = match outcome {
        Some(Outcome {
            fails_at: None,
            reserved_peak_bytes,
        }) => Advice {
            is_enough: true,
            ..advice(
                "Turn on expandable segments",
                format!(
                    "{gaps} Simulated: with this setting and the same memory every recorded request \
                     is served, this one included, with at most {} reserved. What the program \
                     would have asked for afterwards is not in the file.",
                    units::bytes(reserved_peak_bytes)
                ),
                stranded.max(verdict.missing_bytes),
                Certainty::Simulated,
            )
        },
        Some(Outcome {
            fails_at: Some(event),
            ..
        }) => advice(
            "Expandable segments alone would not have been enough",
            format!(
                "{gaps} Simulated: with this setting and the same memory the recorded program \
                 still runs out, {}.",
                if event == evidence.event {
                    "at this very event".to_owned()
                } else {
                    format!("at event {event}")
                }
            ),
            0,
            Certainty::Simulated,
        ),
        None => advice(
            "Turn on expandable segments",
            format!("{gaps} How much of them goes depends on where live blocks end up."),
            stranded,
            Certainty::UpperBound,
        ),
    };
    let helps = found.is_enough || found.certainty != Certainty::Simulated;
    found.setting = helps.then_some(setting);
    found
}

/// How the recorded program ends under another setting.
struct Outcome {
    fails_at: Option<u32>,
    reserved_peak_bytes: u64,
}

/// Runs the recorded program of `device` again with `conf` and the memory it had; None unless the
/// model agrees with the whole recording.
fn outcome_with(snapshot: &Snapshot, device: DeviceId, conf: &str) -> Option<Outcome> {
    let recording = Recording::if_exact(snapshot, device)?;
    let what_if = WhatIf {
        conf: Some(conf.to_owned()),
        ..WhatIf::default()
    };
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let simulation = simulate_recordings(snapshot, &[recording], &what_if, go_on).ok()?;
    let simulated = &simulation.devices.first()?.simulated;
    Some(Outcome {
        fails_at: simulated.oom_event,
        reserved_peak_bytes: simulated.reserved_peak_bytes,
    })
}

/// The environment line that adds `option` to the settings in force.
fn set_conf(snapshot: &Snapshot, option: &str) -> String {
    let conf = snapshot
        .settings
        .as_ref()
        .map_or("", |settings| settings.conf.as_str());
    let key = option.split(':').next().unwrap_or(option);
    let kept = conf
        .split(',')
        .filter(|part| !part.is_empty() && !part.starts_with(key));
    let all: Vec<&str> = kept.chain(std::iter::once(option)).collect();
    environment_line(&all.join(","), Dialect::detect(&snapshot.segments))
}
