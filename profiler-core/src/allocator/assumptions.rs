//! What a simulation takes for granted because the trace does not tell.

use super::replay::Recording;
use super::run::Ending;
use super::simulate::DeviceSimulation;
use super::version::TieBreak;
use super::what_if::{Capacity, WhatIf};
use crate::snapshot::Snapshot;
use crate::units;

/// Adds what the trace of `recording` does not tell about `simulation`, each sentence once.
pub(super) fn note_assumptions(
    snapshot: &Snapshot,
    recording: &Recording,
    simulation: &DeviceSimulation,
    what_if: &WhatIf,
    assumptions: &mut Vec<String>,
) {
    let program = &recording.program;
    let device = program.device;
    let mut note = |text: String| {
        if !assumptions.contains(&text) {
            assumptions.push(text);
        }
    };
    if !recording.fidelity.is_exact() {
        note(format!(
            "Device {device}: the model agrees with the recording in only {:.2} % of what can be \
             compared, so what it says of other settings is an estimate.",
            recording.fidelity.share() * 100.0
        ));
    }
    if snapshot.settings.is_none() {
        let expandable = if recording.settings.expandable_segments {
            ", with expandable segments, which the file shows"
        } else {
            ""
        };
        note(format!(
            "The file does not record the allocator's settings; the defaults are taken for \
             them{expandable}."
        ));
    }
    if !program.start.segments.is_empty() {
        note(format!(
            "Device {device}: recording began when memory was already held. What was there is \
             kept as recorded; only what follows is simulated."
        ));
    }
    if program.late_frees > 0 {
        note(format!(
            "Device {device}: {} frees waited for another stream (record_stream). They are taken \
             to end at the same event as recorded; on a real device that depends on its speed.",
            program.late_frees
        ));
    }
    if program.empty_caches > 0 {
        note(format!(
            "Device {device}: {} runs of segments given back are read as calls of \
             torch.cuda.empty_cache() and made again; calls that had nothing to give back do not \
             show in a recording.",
            program.empty_caches
        ));
    }
    if program.requests.iter().any(|request| request.pool != 0) {
        note(format!(
            "Device {device}: memory of private pools (CUDA graphs, MemPool) is given back when \
             the recording gives it back."
        ));
    }
    if recording.rules.tie_break == TieBreak::Address && what_if.conf.is_some() {
        note(format!(
            "Device {device}: of free blocks of equal size this PyTorch takes the one at the lowest \
             address, and it is the driver that chooses where segments lie: they are taken to lie \
             where the recording has one of the same size. Where other settings take segments of \
             other sizes, peaks can be some percent off."
        ));
    }
    match simulation.capacity {
        None => note(
            "The device has room for everything: other processes and memory outside the \
             allocator (CUDA context, NCCL, cuDNN) are not in the trace."
                .to_owned(),
        ),
        Some(bytes) => note(format!(
            "Device {device}: {} ({bytes} bytes) are there for this process's allocator; the CUDA \
             context, NCCL and other processes come on top.",
            units::bytes(bytes)
        )),
    }
    let recorded_peak = recording.fidelity.peak_reserved_recorded;
    if what_if.capacity == Capacity::Recorded
        && let Some(capacity) = simulation.capacity.filter(|&bytes| bytes < recorded_peak)
    {
        note(format!(
            "Device {device}: the recording held {} earlier, more than the {} there were when it \
             ran out: something outside the allocator took memory in between, and here that is \
             missing from the beginning.",
            units::bytes(recorded_peak),
            units::bytes(capacity)
        ));
    }
    match simulation.ending {
        Ending::OutOfMemory { event, .. } => note(format!(
            "Device {device}: the simulation ends at event {event}, where it runs out of memory \
             and the recording does not: what the program would have done then is unknown."
        )),
        Ending::AvoidedOutOfMemory { event } => {
            note(format!(
                "Device {device}: the simulation ends at event {event}, where the recording runs \
                 out of memory and it does not: what the program would have gone on to need is \
                 unknown."
            ));
            let failed = snapshot
                .trace(device)
                .map(|trace| trace.events.get(event as usize));
            // Of an `oom` event the address is what the driver had free.
            if let Some(failed) = failed.filter(|failed| failed.address >= failed.size) {
                note(format!(
                    "Device {device}: the driver had {} free at event {event}, enough for the \
                     request: a limit that the file does not record (a memory fraction) was in \
                     the way, and is not simulated unless it is given.",
                    units::bytes(failed.address)
                ));
            }
        }
        Ending::Finished | Ending::Stopped => {}
    }
    if !what_if.changes.is_empty() {
        note(
            "Dropped and resized allocations change nothing else: the program is taken to ask for \
             the rest as before."
                .to_owned(),
        );
    }
}
