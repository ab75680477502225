//! Runs the recorded program under other settings, in the background.

use std::ops::ControlFlow;
use std::sync::Arc;

use profiler_core::allocator::{
    Capacity, DeviceSimulation, Dialect, Recording, WhatIf, simulate_recordings,
};
use profiler_core::replay::Curve;
use profiler_core::snapshot::DeviceId;

use crate::ask::Subject;
use crate::prepare::Pyramid;

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The recording.
    pub subject: Subject,
    /// Settings instead of the recorded ones.
    pub conf: Option<String>,
    /// The device's memory.
    pub capacity: Capacity,
    /// What `set_per_process_memory_fraction` was given.
    pub memory_fraction: Option<f64>,
}

/// A finished run.
pub struct Outcome {
    /// Whose allocator it is, which names the settings' variable.
    pub dialect: Dialect,
    /// What was asked.
    pub question: Question,
    /// The run; without its curves, which are below.
    pub simulation: DeviceSimulation,
    /// What the recording does not tell, in sentences.
    pub assumptions: Vec<String>,
    /// Bytes held in the simulated run.
    pub reserved: Curve,
    /// Over [`Self::reserved`].
    pub reserved_pyramid: Pyramid,
}

/// An outcome, or why there is none, in words.
pub type Answer = Result<Arc<Outcome>, String>;

/// Recordings once replayed, for the next settings. One is kept.
#[derive(Default)]
pub struct Runner {
    known: Option<(Subject, Recording)>,
}

impl Runner {
    /// Runs what `question` asks for; None if `is_stale` says that nobody wants it any more.
    pub fn run(&mut self, question: Question, is_stale: &dyn Fn() -> bool) -> Option<Answer> {
        let device = question.subject.replay()?.device;
        if device == DeviceId::HOST {
            return Some(Err(
                "Pinned host memory has no caching rules to simulate.".to_owned()
            ));
        }
        let snapshot = &question.subject.document.snapshot;
        if snapshot
            .trace(device)
            .is_none_or(|trace| trace.events.is_empty())
        {
            return Some(Err(
                "This device has no history to run again: record one with \
                             torch.cuda.memory._record_memory_history()."
                    .to_owned(),
            ));
        }
        let is_known = |(known, _): &(Subject, Recording)| {
            known.device == question.subject.device
                && known.document.is_same_reading(&question.subject.document)
        };
        if !self.known.as_ref().is_some_and(is_known) {
            self.known = None;
            let recording = Recording::new(snapshot, device);
            self.known = Some((question.subject.clone(), recording));
        }
        let (_, recording) = self.known.as_ref()?;
        let what_if = WhatIf {
            conf: question.conf.clone(),
            capacity: question.capacity,
            memory_fraction: question.memory_fraction,
            with_curves: true,
            with_maps: true,
            ..WhatIf::default()
        };
        let recordings = std::slice::from_ref(recording);
        let mut go_on = |_: u64, _: u64| {
            if is_stale() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let simulated = simulate_recordings(snapshot, recordings, &what_if, &mut go_on);
        if is_stale() {
            return None;
        }
        let mut simulated = match simulated {
            Ok(simulated) => simulated,
            Err(error) => return Some(Err(error.to_string())),
        };
        let mut simulation = simulated.devices.pop()?;
        let mut reserved = Curve::starting_at(recording.program.start.held_bytes());
        for point in std::mem::take(&mut simulation.simulated_curve) {
            reserved.set(point.event.saturating_add(1), point.reserved);
        }
        Some(Ok(Arc::new(Outcome {
            question,
            simulation,
            assumptions: simulated.assumptions,
            dialect: recording.rules.dialect,
            reserved_pyramid: Pyramid::new(&reserved),
            reserved,
        })))
    }
}
