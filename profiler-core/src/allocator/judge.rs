//! What follows from the settings tried.

use super::advise::{Best, DeviceAdvice, GpuFit};
use super::bound::Bound;
use super::candidate::Candidate;
use super::conf::without_effect;
use super::gpus::{GPUS, Gpu};
use super::replay::Recording;
use super::summary::recorded_summary;
use super::version::Dialect;
use crate::snapshot::{DeviceId, Snapshot};
use crate::units;

/// A saving below this share of the peak is not worth a setting, or another option in one.
const WORTHWHILE: f64 = 0.01;

/// Ranks candidates: what runs in the capacity in question first, then by peak reserved bytes
/// without a limit, smallest capacity, and calls of the driver.
pub(super) fn rank(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|candidate| {
        (
            candidate.fails_at_capacity(),
            candidate.simulated.reserved_peak_bytes,
            candidate.smallest_capacity_bytes.unwrap_or(u64::MAX),
            candidate.driver_calls(),
            !candidate.is_recorded,
            candidate.conf.len(),
        )
    });
}

/// Says what follows from ranked candidates.
pub(super) fn judge(
    snapshot: &Snapshot,
    recording: &Recording,
    bound: Bound,
    capacity_bytes: Option<u64>,
    candidates: Vec<Candidate>,
) -> DeviceAdvice {
    let DeviceId(device) = recording.program.device;
    let mut advice = DeviceAdvice {
        device,
        fidelity: recording.fidelity.share(),
        recorded: recorded_summary(snapshot, recording),
        capacity_bytes,
        bound,
        candidates,
        settings_not_tried: 0,
        gpus: Vec::new(),
        best: None,
        verdict: String::new(),
    };
    if let Some(recorded) = advice.recorded_candidate() {
        let best = best_of(&advice.candidates, recorded);
        let held = recording.program.start.held_bytes();
        let verdict = verdict(&advice, recorded, best, held);
        let gpus = GPUS.map(|gpu| GpuFit {
            gpu,
            room_bytes: room(&gpu, recorded),
            best_room_bytes: room(&gpu, best.unwrap_or(recorded)),
        });
        let dialect = recording.rules.dialect;
        let best = best.map(|best| best_line(best, recorded, dialect));
        (advice.best, advice.verdict) = (best, verdict);
        advice.gpus = gpus.to_vec();
    }
    advice
}

/// The setting to advise: of those about as good as the first, the one with the fewest options,
/// then the fewest calls of the driver. None if the recorded settings are about as good.
pub(super) fn best_of<'a>(
    candidates: &'a [Candidate],
    recorded: &Candidate,
) -> Option<&'a Candidate> {
    let first = candidates.first()?;
    if first.fails_at_capacity() {
        return None;
    }
    let peak = |candidate: &Candidate| candidate.simulated.reserved_peak_bytes;
    let is_as_good = |candidate: &&Candidate| {
        !candidate.fails_at_capacity()
            && peak(candidate) as f64 <= peak(first) as f64 * (1.0 + WORTHWHILE)
    };
    if is_as_good(&recorded) {
        return None;
    }
    let options = |candidate: &Candidate| candidate.conf.split(',').count();
    let good = candidates.iter().filter(is_as_good);
    good.min_by_key(|candidate| (options(candidate), candidate.driver_calls()))
}

fn best_line(best: &Candidate, recorded: &Candidate, dialect: Dialect) -> Best {
    let peak = |candidate: &Candidate| candidate.simulated.reserved_peak_bytes;
    // What the user set for other reasons stays set.
    let kept = without_effect(&recorded.conf);
    let options = std::iter::once(best.conf.as_str()).chain(kept);
    let line: Vec<&str> = options.filter(|option| !option.is_empty()).collect();
    Best {
        conf: best.conf.clone(),
        environment: environment_line(&line.join(","), dialect),
        saves_bytes: peak(recorded).saturating_sub(peak(best)),
        is_rescue: recorded.fails_at_capacity(),
    }
}

/// The conclusion in a sentence. `held_at_start_bytes` were reserved before recording began, under
/// whatever settings: where they are most of the peak, the trace cannot tell what others would do.
fn verdict(
    advice: &DeviceAdvice,
    recorded: &Candidate,
    best: Option<&Candidate>,
    held_at_start_bytes: u64,
) -> String {
    let capacity = advice.capacity_bytes.unwrap_or(u64::MAX);
    let (load, packing) = (advice.bound.load_bytes, advice.bound.packing_bytes);
    if best.is_some() {
        return if recorded.fails_at_capacity() {
            "This setting runs where the recorded one runs out of memory."
        } else {
            "This setting needs less memory for the same program."
        }
        .to_owned();
    }
    if !recorded.fails_at_capacity() {
        if held_at_start_bytes > recorded.simulated.reserved_peak_bytes / 2 {
            return format!(
                "No setting tried helps, as far as this recording can tell: {} were reserved \
                 before it began and are the same under each. Record from the start to know more.",
                units::bytes(held_at_start_bytes)
            );
        }
        return if recorded.simulated.reserved_peak_bytes <= packing {
            "No setting can help: what the program keeps alive is what it takes."
        } else {
            "No setting tried helps: none needs noticeably less memory than the recorded one."
        }
        .to_owned();
    }
    if load > capacity {
        return format!(
            "No setting can make the program fit: {} are live at once, and PyTorch could have {}.",
            units::bytes(load),
            units::bytes(capacity)
        );
    }
    "No setting tried makes the program fit: it needs less live memory, or a larger device."
        .to_owned()
}

/// What a GPU has above the least memory the candidate is known to run in.
fn room(gpu: &Gpu, candidate: &Candidate) -> i64 {
    let needed = candidate
        .smallest_capacity_bytes
        .unwrap_or(candidate.simulated.reserved_peak_bytes);
    gpu.total_bytes.cast_signed() - needed.min(i64::MAX as u64).cast_signed()
}

impl DeviceAdvice {
    /// The recorded settings among the candidates.
    #[must_use]
    pub fn recorded_candidate(&self) -> Option<&Candidate> {
        self.candidates
            .iter()
            .find(|candidate| candidate.is_recorded)
    }

    /// The advised settings among the candidates.
    #[must_use]
    pub fn best_candidate(&self) -> Option<&Candidate> {
        let best = self.best.as_ref()?;
        let mut all = self.candidates.iter();
        all.find(|candidate| !candidate.is_recorded && candidate.conf == best.conf)
    }

    /// How many bytes below the recorded settings' peak (without a limit) are sure to be
    /// avoidable, and how many may be at most.
    #[must_use]
    pub fn avoidable_bytes(&self) -> (u64, u64) {
        let recorded = self.recorded_candidate();
        let peak = recorded.map_or(0, |recorded| recorded.simulated.reserved_peak_bytes);
        (
            peak.saturating_sub(self.bound.packing_bytes),
            peak.saturating_sub(self.bound.load_bytes),
        )
    }
}

/// The line for a shell. `PYTORCH_CUDA_ALLOC_CONF` is read by every version of PyTorch.
#[must_use]
pub fn environment_line(conf: &str, dialect: Dialect) -> String {
    let name = match dialect {
        Dialect::Cuda => "PYTORCH_CUDA_ALLOC_CONF",
        Dialect::Npu => "PYTORCH_NPU_ALLOC_CONF",
    };
    format!("{name}={conf}")
}
