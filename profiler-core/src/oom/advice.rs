//! What to change after a failed allocation: true of this file, ranked by what it frees.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::allocator::{Recording, WhatIf, simulate_recordings};
use crate::attribution::{Attribution, By, Category};
use crate::replay::{AllocationId, DeviceReplay};
use crate::snapshot::{DeviceId, Snapshot};
use crate::units;

use super::{OomClass, OomVerdict};

/// How far a number of an [`Advice`] can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The bytes are counted in this file.
    Exact,
    /// The bytes are counted, but that they are what they are called was inferred, or how many of
    /// them go depends on the program.
    UpperBound,
    /// The recorded requests were run again on the allocator's model with that setting and the
    /// same memory; the model agrees with everything recorded.
    Simulated,
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What to do, in a few words.
    pub title: String,
    /// Why, with this file's numbers, and how.
    pub detail: String,
    /// How many bytes it can free at the failure.
    pub frees_bytes: u64,
    /// What that number is.
    pub certainty: Certainty,
    /// Whether that is enough for this request.
    pub is_enough: bool,
    /// A line to paste, if there is one.
    pub setting: Option<String>,
}

/// Everything that would help against `verdict`, what frees most first.
#[must_use]
pub fn advise(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    attribution: &Attribution,
    verdict: &OomVerdict,
) -> Vec<Advice> {
    let mut list = Vec::new();
    arrangement(snapshot, replay, verdict, &mut list);
    holders(snapshot, replay, attribution, verdict, &mut list);
    surroundings(verdict, &mut list);
    for advice in &mut list {
        if advice.certainty != Certainty::Simulated {
            // Where gaps were the trouble, freed bytes need not lie where the request can go.
            advice.is_enough =
                !verdict.class.is_fragmentation() && advice.frees_bytes >= verdict.missing_bytes;
        }
    }
    // What addresses the class comes first, then what frees most.
    let fits = |advice: &Advice| {
        advice.setting.is_some() == verdict.class.is_fragmentation() && advice.is_enough
    };
    list.sort_by_key(|advice| {
        (
            !fits(advice),
            std::cmp::Reverse(advice.frees_bytes),
            advice.title.clone(),
        )
    });
    list
}

fn advice(
    title: impl Into<String>,
    detail: String,
    frees_bytes: u64,
    certainty: Certainty,
) -> Advice {
    Advice {
        title: title.into(),
        detail,
        frees_bytes,
        certainty,
        is_enough: false,
        setting: None,
    }
}

/// Advice about how free memory is arranged.
fn arrangement(
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
    let is_first = super::oom_events(snapshot, replay).first() == Some(&evidence.event);
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
                 still runs out, at event {event} (here: {}).",
                evidence.event
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

/// Advice about who holds the memory.
fn holders(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    attribution: &Attribution,
    verdict: &OomVerdict,
    list: &mut Vec<Advice>,
) {
    let live = replay.live_at(verdict.evidence.moment);
    let Some(device) = attribution.device(replay.device) else {
        return;
    };
    let held = |wanted: Category| -> u64 {
        let of_category = live.iter().filter(|&&id| device.category(id).0 == wanted);
        of_category
            .map(|&id| replay.allocations.get(id).block_size)
            .fold(0_u64, u64::saturating_add)
    };
    let mut add = |bytes: u64, title: &str, detail: String| {
        if bytes > 0 {
            list.push(advice(title, detail, bytes, Certainty::UpperBound));
        }
    };
    let activations = held(Category::Activation);
    let is_capacity = verdict.class == OomClass::Capacity;
    let shrink = if is_capacity && activations > verdict.missing_bytes {
        format!(
            " If activations grow in proportion to the batch, {} less of it frees the missing \
             bytes (an estimate: it supposes that proportion and no gaps).",
            units::percent(verdict.missing_bytes, activations)
        )
    } else {
        String::new()
    };
    add(
        activations,
        "Checkpoint activations, or make the batch or sequence shorter",
        format!(
            "Activations kept for the backward hold {}. Activation checkpointing \
             (torch.utils.checkpoint) trades most of them for recomputation.{shrink}",
            units::bytes(activations)
        ),
    );
    let optimizer = held(Category::OptimizerState);
    add(
        optimizer,
        "Shard or shrink the optimizer state",
        format!(
            "Optimizer state holds {}. FSDP or ZeRO shards it over ranks; 8-bit optimizers \
             quarter it; offloading moves it to the host.",
            units::bytes(optimizer)
        ),
    );
    let gradients = held(Category::Gradient);
    add(
        gradients,
        "Free gradients earlier",
        format!(
            "Gradients hold {}. zero_grad(set_to_none=True) before the forward frees them; \
             optimizer-in-backward hooks never keep them all; FSDP shards them.",
            units::bytes(gradients)
        ),
    );
    let parameters = held(Category::Parameter);
    add(
        parameters,
        "Shard the parameters or store them in fewer bits",
        format!("Parameters hold {}.", units::bytes(parameters)),
    );
    let temporaries = held(Category::Temporary);
    add(
        temporaries,
        "Cut temporary tensors",
        format!(
            "Temporary tensors hold {} at this moment. Compute in chunks, in place, or with a \
             fused kernel.",
            units::bytes(temporaries)
        ),
    );
    if let Some(largest) = largest_line(snapshot, replay, attribution, &live) {
        list.push(largest);
    }
}

/// The one line that holds the most, if it holds more than a tenth of what is in use.
fn largest_line(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    attribution: &Attribution,
    live: &[AllocationId],
) -> Option<Advice> {
    let lines = attribution.breakdown(snapshot, replay, live, By::Line);
    let top = lines.groups.iter().find(|group| !group.is_unknown)?;
    if top.sums.requested.saturating_mul(10) < lines.total.requested {
        return None;
    }
    Some(advice(
        format!("Look at {}", top.label),
        format!(
            "This line alone holds {} in {} allocations, {} of the bytes requested.",
            units::bytes(top.sums.block),
            top.sums.count,
            units::percent(top.sums.requested, lines.total.requested)
        ),
        top.sums.block,
        Certainty::UpperBound,
    ))
}

/// Advice about what is around PyTorch.
fn surroundings(verdict: &OomVerdict, list: &mut Vec<Advice>) {
    let evidence = &verdict.evidence;
    match verdict.class {
        OomClass::Limit => list.push(advice(
            "Raise the memory limit",
            format!(
                "The driver had {} free and was asked for {}: a memory fraction \
                 (set_per_process_memory_fraction, per_process_memory_fraction), or a limit set \
                 from outside the process, was in the way.",
                units::bytes(evidence.device_free_bytes),
                units::bytes(evidence.driver_request_bytes)
            ),
            evidence.device_free_bytes,
            Certainty::Exact,
        )),
        OomClass::RequestTooBig => list.push(advice(
            "Split the request",
            format!(
                "One tensor of {} is larger than the {} that PyTorch could have had in all. \
                 Compute it in chunks, or check its shape.",
                units::bytes(evidence.requested_bytes),
                units::bytes(evidence.reachable_bytes())
            ),
            evidence.requested_bytes,
            Certainty::Exact,
        )),
        _ => {}
    }
    if let Some(outside) = evidence.outside_bytes.filter(|&bytes| bytes > 0) {
        list.push(advice(
            "Look at what uses the device beside PyTorch's allocator",
            format!(
                "{} are used outside it: the CUDA context, libraries, NCCL, other processes.",
                units::bytes(outside)
            ),
            outside,
            Certainty::UpperBound,
        ));
    }
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
    format!("PYTORCH_CUDA_ALLOC_CONF={}", all.join(","))
}

/// The most failures of a device that [`judge_all`] judges: each takes a walk over all live
/// allocations and may take a simulation, and a program that retries can fail at every event.
pub const MAX_JUDGED: usize = 32;

/// The verdicts on the recorded failures of `replay`'s device, oldest first, with advice: on all,
/// or the last [`MAX_JUDGED`] if there are more ([`super::oom_events`] names them all).
#[must_use]
pub fn judge_all(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    attribution: &Attribution,
    device_total_bytes: Option<u64>,
) -> Vec<(OomVerdict, Vec<Advice>)> {
    if replay.device == DeviceId::HOST {
        return Vec::new();
    }
    let rows = super::oom_events(snapshot, replay);
    let skipped = rows.len().saturating_sub(MAX_JUDGED);
    let evidence = rows
        .into_iter()
        .skip(skipped)
        .filter_map(|row| super::OomEvidence::gather(snapshot, replay, row, device_total_bytes));
    evidence
        .map(|evidence| {
            let verdict = OomVerdict::judge(evidence);
            let advice = advise(snapshot, replay, attribution, &verdict);
            (verdict, advice)
        })
        .collect()
}
