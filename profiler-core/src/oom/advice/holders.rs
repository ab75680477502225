//! Advice about who holds the memory.

use crate::attribution::{Attribution, By, Category};
use crate::oom::{OomClass, OomVerdict};
use crate::replay::{AllocationId, DeviceReplay};
use crate::snapshot::Snapshot;
use crate::units;

use super::{Advice, Certainty, advice};

/// Advice about who holds the memory.
pub(super) fn holders(
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
    // What holds less than a hundredth of the memory in use is not worth the reader's time.
    let least = verdict.evidence.parts.active_bytes() / 100;
    let mut add = |bytes: u64, title: &str, detail: String| {
        if bytes > least {
            list.push(advice(title, detail, bytes, Certainty::UpperBound));
        }
    };
    let activations = held(Category::Activation);
    let is_capacity = verdict.class == OomClass::Capacity;
    let shrink = if is_capacity && activations > verdict.missing_bytes {
        format!(
            " If activations grow in proportion to the batch, {} less of it frees the missing \
             bytes (an estimate: it supposes that proportion and no gaps).",
            percent_at_least(verdict.missing_bytes, activations)
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

/// `part` of `whole` in percent with one decimal, rounded up: so much is needed.
fn percent_at_least(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1000).div_ceil(u128::from(whole).max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
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
