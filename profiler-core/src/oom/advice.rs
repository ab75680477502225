//! What to change after a failed allocation: true of this file, ranked by what it frees ([`advise`]
//! has the rule).

mod arrangement;
mod holders;
mod surroundings;

use serde::Serialize;

use crate::attribution::Attribution;
use crate::replay::DeviceReplay;
use crate::snapshot::{DeviceId, Snapshot};

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
    /// Whether this request is known to be served then: by simulation, or because nothing else was
    /// in the way. Bytes that could be freed at most never make it so.
    pub is_enough: bool,
    /// A line to paste, if there is one.
    pub setting: Option<String>,
}

/// Everything that would help against `verdict`: first what is known to be enough for this request,
/// then by the bytes it frees, most first; what frees an unknown amount after that, and what the
/// model shows not to help last. What frees the same goes by how near it is to the verdict's class.
#[must_use]
pub fn advise(
    snapshot: &Snapshot,
    replay: &DeviceReplay,
    attribution: &Attribution,
    verdict: &OomVerdict,
) -> Vec<Advice> {
    let (mut arranged, mut held, mut around) = (Vec::new(), Vec::new(), Vec::new());
    arrangement::arrangement(snapshot, replay, verdict, &mut arranged);
    holders::holders(snapshot, replay, attribution, verdict, &mut held);
    surroundings::surroundings(verdict, &mut around);
    let groups = match verdict.class {
        OomClass::Capacity => [held, around, arranged],
        OomClass::Limit | OomClass::RequestTooBig | OomClass::OutsidePyTorch => {
            [around, held, arranged]
        }
        _ => [arranged, held, around],
    };
    let numbered = groups.into_iter().enumerate();
    let mut list: Vec<(usize, Advice)> = numbered
        .flat_map(|(group, list)| list.into_iter().map(move |advice| (group, advice)))
        .collect();
    // No bytes known to be freed stand for an unknown amount, and so come after all others.
    list.sort_by_cached_key(|(group, advice)| {
        (
            !advice.is_enough,
            advice.is_refuted(),
            std::cmp::Reverse(advice.frees_bytes),
            *group,
            advice.title.clone(),
        )
    });
    list.into_iter().map(|(_, advice)| advice).collect()
}

impl Advice {
    /// Whether the model shows that it would not have helped: said last, so that nobody tries it.
    fn is_refuted(&self) -> bool {
        self.certainty == Certainty::Simulated && !self.is_enough
    }
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
