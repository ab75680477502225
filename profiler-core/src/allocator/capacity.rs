//! The smallest device a program runs on.

use super::device::Device;
use super::program::Program;
use super::replay::Recording;
use super::run::SimulatedRun;
use super::settings::Settings;
use super::version::TorchVersion;
use super::what_if::new_device;

/// Whether everything recorded is served with `capacity` bytes, recorded failures included.
#[must_use]
pub fn survives(recording: &Recording, settings: &Settings, capacity: u64) -> bool {
    // A recording that begins with memory held cannot tell how the program gets there with less.
    if recording.program.start.held_bytes() > capacity {
        return false;
    }
    let device = new_device(Some(capacity), settings, None, TorchVersion::NEWEST);
    let program = &recording.program;
    let mut run = SimulatedRun::new(program, recording.rules, settings, device);
    run.serves_everything()
}

/// The smallest capacity in steps of 2 MiB at which [`survives`] holds, between `least` (for
/// example the load) and `most` (for example the peak reserved bytes without a limit, which is
/// always enough), by bisection. None if `most` is not enough. A little more memory can make a
/// program fail that ran with less, though rarely; then this is a capacity that suffices while
/// the next lower step does not.
#[must_use]
pub fn smallest_capacity(
    recording: &Recording,
    settings: &Settings,
    least: u64,
    most: u64,
) -> Option<u64> {
    let step = Device::GRANULARITY;
    let holds = |steps: u64| survives(recording, settings, steps.saturating_mul(step));
    // `failing` steps are too few, `enough` are not.
    let mut enough = most.div_ceil(step);
    let mut failing = (least / step).min(enough).saturating_sub(1);
    if !holds(enough) {
        return None;
    }
    while enough.saturating_sub(failing) > 1 {
        let middle = failing + (enough - failing) / 2;
        if holds(middle) {
            enough = middle;
        } else {
            failing = middle;
        }
    }
    Some(enough.saturating_mul(step))
}

/// Most bytes held when everything recorded is served without a limit, recorded failures
/// included.
#[must_use]
pub(super) fn peak_of_everything(recording: &Recording, settings: &Settings) -> u64 {
    let device = new_device(None, settings, None, TorchVersion::NEWEST);
    let mut run = SimulatedRun::new(&recording.program, recording.rules, settings, device);
    run.serves_everything();
    run.allocator.counters().reserved.peak
}

impl Program {
    /// Whether memory was held when recording began: what settings do to that is not simulated.
    #[must_use]
    pub fn has_earlier_history(&self) -> bool {
        !self.start.segments.is_empty()
    }
}
