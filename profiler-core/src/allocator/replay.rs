//! The recorded program run again under the recorded settings, compared event by event.

use super::counters::Counters;
use super::curve::{CurveBuilder, CurvePoint};
use super::fidelity::Fidelity;
use super::map::{BlockMap, map_of};
use super::program::{Program, Step};
use super::recorded_driver::{SegmentEvent, segment_events};
use super::replay_run::Run;
use super::rounding::{MIN_BLOCK_SIZE, SizeRules};
use super::settings::Settings;
use super::solve;
use super::start_state::StartState;
use super::version::{Dialect, Rules, TieBreak, TorchVersion};
use crate::snapshot::{Action, DeviceId, Events, Snapshot};

/// Replays `device`'s trace under the recorded settings.
///
/// Other rules than the file suggests are tried if those are not exact.
#[must_use]
pub fn replay_recorded(snapshot: &Snapshot, device: DeviceId) -> Fidelity {
    Recording::new(snapshot, device).fidelity
}

/// A recording with the rules, settings and start state that explain it.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The rules.
    pub rules: Rules,
    /// The settings in force.
    pub settings: Settings,
    /// The requests, with the start state as corrected.
    pub program: Program,
    /// How far the replay agrees.
    pub fidelity: Fidelity,
    /// The allocator's counters over the recording; after disagreements only their peaks mean
    /// something.
    pub counters: Counters,
}

impl Recording {
    /// Finds the rules and the start state of `device`'s trace.
    #[must_use]
    pub fn new(snapshot: &Snapshot, device: DeviceId) -> Self {
        Self::with_effort(snapshot, device, Effort::FULL).unwrap_or_default()
    }

    /// The same without a long search: one pass over the trace, and a second or two more where
    /// the start has to be guessed. Of use if it is exact; if it is not, it ends at the first
    /// disagreement. None if so much of the trace contradicts the rest that no allocator did it.
    #[must_use]
    pub fn quick(snapshot: &Snapshot, device: DeviceId) -> Option<Self> {
        Self::with_effort(snapshot, device, Effort::QUICK)
    }

    /// [`Self::quick`], if the model explains all of it.
    #[must_use]
    pub fn if_exact(snapshot: &Snapshot, device: DeviceId) -> Option<Self> {
        let recording = Self::quick(snapshot, device)?;
        recording.fidelity.is_exact().then_some(recording)
    }

    /// None if the effort is not worth making.
    fn with_effort(snapshot: &Snapshot, device: DeviceId, effort: Effort) -> Option<Self> {
        let settings = recorded_settings(snapshot);
        let version = TorchVersion::at_least(&snapshot.features);
        let dialect = Dialect::detect(&snapshot.segments);
        let mut candidates = vec![Rules {
            dialect,
            tie_break: version.tie_break(),
        }];
        // The file only bounds the version from below, and its blocks may fit either dialect.
        for dialect in [dialect, dialect.other()] {
            for tie_break in [TieBreak::SegmentAge, TieBreak::Address] {
                let rules = Rules { dialect, tie_break };
                if !candidates.contains(&rules) {
                    candidates.push(rules);
                }
            }
        }
        let mut best: Option<Self> = None;
        let mut start = StartState::default();
        for rules in candidates {
            let program = match &best {
                // Nothing but the start is changed by a search.
                Some(best) if best.rules.dialect == rules.dialect => Program {
                    start: start.clone(),
                    ..best.program.clone()
                },
                _ => {
                    let sizes = SizeRules::new(rules.dialect, &settings);
                    Program::extract(snapshot, device, &sizes, 0)
                }
            };
            if !effort.is_worth(&program) {
                return None;
            }
            start.clone_from(&program.start);
            let next = Self::under(snapshot, program, rules, &settings, effort);
            let is_exact = next.fidelity.is_exact();
            let share = |recording: &Self| recording.fidelity.share();
            if best.as_ref().is_none_or(|best| share(&next) > share(best)) {
                best = Some(next);
            }
            if is_exact {
                break;
            }
        }
        best
    }

    fn under(
        snapshot: &Snapshot,
        mut program: Program,
        rules: Rules,
        settings: &Settings,
        effort: Effort,
    ) -> Self {
        let device = program.device;
        let sizes = SizeRules::new(rules.dialect, settings);
        let no_events = Events::default();
        let events = snapshot
            .trace(device)
            .map_or(&no_events, |trace| &trace.events);
        let segment_events = segment_events(events);
        let guessed = program.start.blocks.iter();
        let guessed_blocks = guessed.filter(|block| block.is_guess()).count() as u64;
        let corrected_blocks =
            solve::correct_guesses(&mut program, &segment_events, rules, settings, effort.steps);

        let mut fidelity = Fidelity {
            device,
            rules,
            guessed_blocks,
            corrected_blocks,
            allocations: count(events, Action::Alloc),
            segment_events: segment_events.len() as u64,
            snapshots: count(events, Action::Snapshot),
            peak_reserved_recorded: recorded_peak(&program, &segment_events),
            ..Fidelity::default()
        };
        let mut counters = Counters::default();
        let mut run = Run::new(&program, &segment_events, rules, settings, 0);
        loop {
            let conflict = run.run_to_conflict();
            fidelity.placed += run.placed;
            fidelity.segment_events_matched += run.allocator.driver().matched;
            fidelity.snapshots_matched += run.snapshots_matched;
            counters.continue_with(run.allocator.counters());
            fidelity.peak_reserved_replayed = counters.reserved.peak;
            let Some(conflict) = conflict else {
                fidelity.count_final_blocks(snapshot, &run.allocator);
                break;
            };
            if fidelity.first_disagreement.is_none() {
                let mut first = conflict.disagreement();
                if !is_aligned(events) {
                    first.explanation.push_str(
                        "; addresses are not multiples of 512 bytes: no caching allocator of \
                         PyTorch made this history",
                    );
                }
                fidelity.first_disagreement = Some(first);
            }
            fidelity.restarts += 1;
            if fidelity.restarts > effort.restarts {
                break;
            }
            let from = conflict.event.saturating_add(1);
            let rest = Program::extract(snapshot, device, &sizes, from);
            run = Run::new_owned(rest, &segment_events, rules, settings, from);
        }
        Self {
            rules,
            settings: settings.clone(),
            program,
            fidelity,
            counters,
        }
    }
}

impl Recording {
    /// The row of the first recorded failure.
    #[must_use]
    pub fn first_oom(&self) -> Option<u32> {
        let mut steps = self.program.steps.iter();
        let failed = steps.find(|timed| matches!(timed.step, Step::FailedMalloc { .. }));
        failed.map(|timed| timed.event)
    }

    /// The row of the first allocation after which the recording held most bytes.
    #[must_use]
    pub fn peak_event(&self, snapshot: &Snapshot) -> u32 {
        let mut held = self.program.start.held_bytes();
        let mut peak = (held, 0);
        let no_events = Events::default();
        let trace = snapshot.trace(self.program.device);
        for event in segment_events(trace.map_or(&no_events, |trace| &trace.events)) {
            match event.action {
                Action::SegmentAlloc | Action::SegmentMap => {
                    held = held.saturating_add(event.piece.size);
                }
                _ => held = held.saturating_sub(event.piece.size),
            }
            if held > peak.0 {
                peak = (held, event.event);
            }
        }
        let steps = &self.program.steps;
        let after = steps.partition_point(|timed| timed.event < peak.1);
        steps
            .get(after)
            .or(steps.last())
            .map_or(0, |timed| timed.event)
    }

    /// What the device held after each event at which that changed, by replay; empty after the
    /// first disagreement. With `parts` only the highest and the last point of so many parts.
    #[must_use]
    pub fn curve(&self, snapshot: &Snapshot, parts: Option<u32>) -> Vec<CurvePoint> {
        let mut curve = CurveBuilder::new(self.program.event_count(), parts);
        self.replay(snapshot, |event, run| {
            curve.push(event, run.allocator.counters());
            true
        });
        curve.finish()
    }

    /// What the device held after `event`, by replay (at the first disagreement if that comes
    /// before).
    #[must_use]
    pub fn map_at(&self, snapshot: &Snapshot, event: u32) -> BlockMap {
        let mut map = BlockMap::default();
        let last = self.program.steps.iter().rev();
        let last = last.map(|timed| timed.event).find(|&at| at <= event);
        self.replay(snapshot, |at, run| {
            if Some(at) == last {
                map = map_of(&run.allocator, &run.handles, &self.program, event, None);
                return false;
            }
            true
        });
        map
    }

    /// Replays up to the first disagreement, or until `observe` returns false.
    fn replay(&self, snapshot: &Snapshot, mut observe: impl FnMut(u32, &Run<'_>) -> bool) {
        let no_events = Events::default();
        let events = snapshot
            .trace(self.program.device)
            .map_or(&no_events, |trace| &trace.events);
        let segment_events = segment_events(events);
        let mut run = Run::new(
            &self.program,
            &segment_events,
            self.rules,
            &self.settings,
            0,
        );
        for timed in &self.program.steps {
            let conflict = run.step(&self.program, timed.event, timed.step);
            if !observe(timed.event, &run) || conflict.is_some() {
                break;
            }
        }
    }
}

/// How much work a recording is worth.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Steps replayed in search of the start state, for each set of rules tried. The model does
    /// about five million a second.
    steps: u64,
    /// After so many disagreements the rest of a trace counts as not replayed: each costs a pass
    /// over the trace.
    restarts: u64,
    /// How many steps a program must have for each event that contradicts the others: trimmed
    /// files have a few such events, and what is full of them no allocator did.
    steps_per_contradiction: u64,
}

impl Effort {
    /// For a user who asked for the replay.
    const FULL: Self = Self {
        steps: 40_000_000,
        restarts: 32,
        steps_per_contradiction: 0,
    };
    /// For work in passing, of use only if it is exact.
    const QUICK: Self = Self {
        steps: 2_000_000,
        restarts: 0,
        steps_per_contradiction: 8,
    };

    /// Whether the trace is such that an exact replay can be hoped for.
    fn is_worth(self, program: &Program) -> bool {
        let contradictions = program.start.contradictions + program.unknown_frees;
        let weight = contradictions.saturating_mul(self.steps_per_contradiction);
        weight <= program.steps.len() as u64
    }
}

/// The settings a snapshot was recorded under, as far as it says.
#[must_use]
pub fn recorded_settings(snapshot: &Snapshot) -> Settings {
    let version = TorchVersion::at_least(&snapshot.features);
    match &snapshot.settings {
        Some(recorded) => Settings::recorded(recorded, version),
        None => {
            let mut segments = snapshot.segments.all().iter();
            Settings {
                expandable_segments: segments.any(|segment| segment.is_expandable),
                ..Settings::default()
            }
        }
    }
}

/// Whether allocations start where this family of allocators puts them.
fn is_aligned(events: &Events) -> bool {
    (0..events.len()).all(|row| {
        events.action(row) != Action::Alloc || events.address(row).is_multiple_of(MIN_BLOCK_SIZE)
    })
}

fn count(events: &Events, action: Action) -> u64 {
    let actions = events.actions().iter();
    actions.filter(|&&found| found == action).count() as u64
}

fn recorded_peak(program: &Program, events: &[SegmentEvent]) -> u64 {
    let mut held = program.start.held_bytes();
    let mut peak = held;
    for event in events {
        match event.action {
            Action::SegmentAlloc | Action::SegmentMap => {
                held = held.saturating_add(event.piece.size);
            }
            _ => held = held.saturating_sub(event.piece.size),
        }
        peak = peak.max(held);
    }
    peak
}
