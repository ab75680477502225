//! The recorded program run again under the recorded settings, compared event by event.

use super::block::{BlockId, Use};
use super::counters::Counters;
use super::curve::{CurveBuilder, CurvePoint};
use super::driver::{Driver, Piece};
use super::map::{BlockMap, map_of};
use super::model::Allocator;
use super::program::{Program, Step};
use super::recorded_driver::{Deviation, RecordedDriver, SegmentEvent, segment_events};
use super::rounding::{MIN_BLOCK_SIZE, SizeRules};
use super::settings::Settings;
use super::solve;
use super::version::{Dialect, Rules, TieBreak, TorchVersion};
use crate::snapshot::{Action, DeviceId, Events, Snapshot};

/// How far the model agrees with a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    /// The device.
    pub device: DeviceId,
    /// The rules that explain the recording best.
    pub rules: Rules,
    /// Allocations in the trace.
    pub allocations: u64,
    /// Those that the model put on the recorded segment and offset.
    pub placed: u64,
    /// Segments and pages taken and given back in the trace.
    pub segment_events: u64,
    /// Those that the model did at the same step, at the same address and with the same size.
    pub segment_events_matched: u64,
    /// Most bytes held at once: by the recording, and by the model.
    pub peak_reserved_recorded: u64,
    /// The model's.
    pub peak_reserved_replayed: u64,
    /// Blocks live when recording began whose size the file does not say.
    pub guessed_blocks: u64,
    /// Those whose first guess the recording contradicted and corrected.
    pub corrected_blocks: u64,
    /// Blocks of the final state (live and free) that the model has too, with address, size and
    /// state.
    pub final_blocks_matched: u64,
    /// Blocks of the final state.
    pub final_blocks: u64,
    /// `snapshot` events whose active bytes the model has too, and all of them.
    pub snapshots_matched: u64,
    /// All `snapshot` events.
    pub snapshots: u64,
    /// Disagreements after which the model was put back into the recorded state.
    pub restarts: u64,
    /// The first disagreement.
    pub first_disagreement: Option<Disagreement>,
}

impl Fidelity {
    /// Share of allocations and segment events that agree; 1 for a trace without any.
    #[must_use]
    pub fn share(&self) -> f64 {
        let all = self.allocations + self.segment_events;
        if all == 0 {
            return 1.0;
        }
        (self.placed + self.segment_events_matched) as f64 / all as f64
    }

    /// Whether everything that can be compared agrees.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.first_disagreement.is_none()
            && self.placed == self.allocations
            && self.segment_events_matched == self.segment_events
    }
}

/// Where the model first does something else than the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The row in the trace.
    pub event: u32,
    /// What the model did and what the recording says, in words.
    pub explanation: String,
}

/// Replays `device`'s trace under the recorded settings.
///
/// Other rules than the file suggests are tried if those are not exact.
#[must_use]
pub fn replay_recorded(snapshot: &Snapshot, device: DeviceId) -> Fidelity {
    Recording::new(snapshot, device).fidelity
}

/// A recording with the rules, settings and start state that explain it.
#[derive(Clone, Debug)]
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
        Self::with_effort(snapshot, device, Effort::FULL)
    }

    /// The same without a long search: one pass over the trace, and a second or two more where
    /// the start has to be guessed. Of use if it is exact; if it is not, it ends at the first
    /// disagreement.
    #[must_use]
    pub fn quick(snapshot: &Snapshot, device: DeviceId) -> Self {
        Self::with_effort(snapshot, device, Effort::QUICK)
    }

    /// [`Self::quick`], if the model explains all of it.
    #[must_use]
    pub fn if_exact(snapshot: &Snapshot, device: DeviceId) -> Option<Self> {
        let recording = Self::quick(snapshot, device);
        recording.fidelity.is_exact().then_some(recording)
    }

    fn with_effort(snapshot: &Snapshot, device: DeviceId, effort: Effort) -> Self {
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
        for rules in candidates {
            let next = Self::under(snapshot, device, rules, &settings, effort);
            let is_exact = next.fidelity.is_exact();
            let share = |recording: &Self| recording.fidelity.share();
            if best.as_ref().is_none_or(|best| share(&next) > share(best)) {
                best = Some(next);
            }
            if is_exact {
                break;
            }
        }
        best.unwrap_or_else(|| Self {
            rules: Rules::default(),
            settings,
            program: Program::default(),
            fidelity: Fidelity::default(),
            counters: Counters::default(),
        })
    }

    fn under(
        snapshot: &Snapshot,
        device: DeviceId,
        rules: Rules,
        settings: &Settings,
        effort: Effort,
    ) -> Self {
        let sizes = SizeRules::new(rules.dialect, settings);
        let no_events = Events::default();
        let events = snapshot
            .trace(device)
            .map_or(&no_events, |trace| &trace.events);
        let segment_events = segment_events(events);
        let mut program = Program::extract(snapshot, device, &sizes, 0);
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
}

impl Effort {
    /// For a user who asked for the replay.
    const FULL: Self = Self {
        steps: 40_000_000,
        restarts: 32,
    };
    /// For work in passing, of use only if it is exact.
    const QUICK: Self = Self {
        steps: 2_000_000,
        restarts: 0,
    };
}

impl Fidelity {
    fn count_final_blocks<D: Driver>(&mut self, snapshot: &Snapshot, allocator: &Allocator<D>) {
        let mut replayed = std::collections::BTreeMap::new();
        for (_, block) in allocator.blocks.iter() {
            if block.state != Use::Unmapped {
                replayed.insert(block.address, (block.size, block.state));
            }
        }
        for segment in snapshot.segments.of_device(self.device) {
            for block in snapshot.segments.blocks(segment) {
                self.final_blocks += 1;
                let state = match block.state {
                    crate::snapshot::BlockState::Allocated => Use::Allocated,
                    crate::snapshot::BlockState::PendingFree => Use::Pending,
                    crate::snapshot::BlockState::Inactive => Use::Free,
                };
                let same = replayed.get(&block.address) == Some(&(block.size, state));
                self.final_blocks_matched += u64::from(same);
            }
        }
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

/// A program being replayed against its recording.
pub(super) struct Run<'a> {
    program: std::borrow::Cow<'a, Program>,
    pub(super) allocator: Allocator<RecordedDriver<'a>>,
    handles: Vec<BlockId>,
    pub(super) placed: u64,
    pub(super) snapshots_matched: u64,
}

/// A step at which model and recording part.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) event: u32,
    /// Where the recording has the block, if it has one.
    pub(super) recorded: Option<u64>,
    /// Where the model put it, if it did.
    pub(super) replayed: Option<BlockId>,
    replayed_address: Option<u64>,
    deviation: Option<Deviation>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        program: &'a Program,
        events: &'a [SegmentEvent],
        rules: Rules,
        settings: &Settings,
        from: u32,
    ) -> Self {
        Self::start(
            std::borrow::Cow::Borrowed(program),
            events,
            rules,
            settings,
            from,
        )
    }

    fn new_owned(
        program: Program,
        events: &'a [SegmentEvent],
        rules: Rules,
        settings: &Settings,
        from: u32,
    ) -> Self {
        Self::start(
            std::borrow::Cow::Owned(program),
            events,
            rules,
            settings,
            from,
        )
    }

    fn start(
        program: std::borrow::Cow<'a, Program>,
        events: &'a [SegmentEvent],
        rules: Rules,
        settings: &Settings,
        from: u32,
    ) -> Self {
        let has_earlier_history = !program.start.segments.is_empty();
        let driver = RecordedDriver::new(events, from, has_earlier_history);
        let mut allocator = Allocator::new(rules, settings.clone(), driver);
        let mut handles = allocator.restore(&program.start);
        handles.resize(program.requests.len(), BlockId::NONE);
        Self {
            program,
            allocator,
            handles,
            placed: 0,
            snapshots_matched: 0,
        }
    }

    /// Handles of the program's requests.
    pub(super) fn handles(&self) -> &[BlockId] {
        &self.handles
    }

    /// Runs until model and recording part, or to the end.
    pub(super) fn run_to_conflict(&mut self) -> Option<Conflict> {
        let program = std::mem::take(&mut self.program);
        let conflict = program
            .steps
            .iter()
            .find_map(|timed| self.step(&program, timed.event, timed.step));
        self.program = program;
        conflict
    }

    fn step(&mut self, program: &Program, event: u32, step: Step) -> Option<Conflict> {
        let handle = |handles: &[BlockId], request: u32| {
            handles
                .get(request as usize)
                .copied()
                .unwrap_or(BlockId::NONE)
        };
        match step {
            Step::Free(request) => self.allocator.free(handle(&self.handles, request)),
            Step::FreeLater(request) => {
                self.allocator.free_later(handle(&self.handles, request));
            }
            Step::CompleteFree(request) => {
                self.allocator.complete_free(handle(&self.handles, request));
            }
            Step::Snapshot(active) => {
                let same = self.allocator.counters().active.current == active;
                self.snapshots_matched += u64::from(same);
            }
            Step::EmptyCache => {
                self.allocator.driver_mut().open(event, true);
                self.allocator.empty_cache();
                return self.conflict(event, None, None);
            }
            Step::FailedMalloc {
                rounded,
                stream,
                pool,
            } => {
                self.allocator.driver_mut().open(event, false);
                let block = self.allocator.malloc(rounded, stream, pool).ok();
                return self.conflict(event, None, block);
            }
            Step::Malloc(request) => {
                let wanted = program.requests.get(request as usize)?;
                self.allocator.driver_mut().open(event, false);
                let block = self
                    .allocator
                    .malloc(wanted.requested, wanted.stream, wanted.pool)
                    .ok();
                if let (Some(block), Some(slot)) = (block, self.handles.get_mut(request as usize)) {
                    *slot = block;
                }
                let conflict = self.conflict(event, Some(wanted.address), block);
                self.placed += u64::from(conflict.is_none());
                return conflict;
            }
        }
        None
    }

    /// What differs after a step that should have ended with a block at `recorded`.
    fn conflict(
        &mut self,
        event: u32,
        recorded: Option<u64>,
        replayed: Option<BlockId>,
    ) -> Option<Conflict> {
        let driver = self.allocator.driver_mut();
        let mut deviation = driver.deviation.take();
        if deviation.is_none()
            && let Some(left) = driver.peek()
        {
            // The recording took or gave back something the model did not.
            deviation = Some(Deviation {
                action: Action::Other,
                piece: Piece {
                    address: 0,
                    size: 0,
                },
                recorded: Some(left),
            });
        }
        let replayed_address = replayed.map(|id| self.allocator.block(id).address);
        if deviation.is_none() && recorded == replayed_address {
            return None;
        }
        Some(Conflict {
            event,
            recorded,
            replayed,
            replayed_address,
            deviation,
        })
    }
}

impl Conflict {
    fn disagreement(&self) -> Disagreement {
        let place = |address: Option<u64>| {
            address.map_or_else(|| "nowhere".to_owned(), |at| format!("{at:#x}"))
        };
        let mut explanation = format!(
            "the model puts the block at {}, the recording has it at {}",
            place(self.replayed_address),
            place(self.recorded)
        );
        if let Some(deviation) = &self.deviation {
            let model = match deviation.action {
                Action::Other => "does nothing".to_owned(),
                action => format!("does {} of {} bytes", action.name(), deviation.piece.size),
            };
            let recorded = deviation.recorded.map_or_else(
                || "has no segment event".to_owned(),
                |event| {
                    format!(
                        "has {} of {} bytes at {:#x} (event {})",
                        event.action.name(),
                        event.piece.size,
                        event.piece.address,
                        event.event
                    )
                },
            );
            explanation =
                format!("{explanation}; the model {model} where the recording {recorded}");
        }
        Disagreement {
            event: self.event,
            explanation,
        }
    }
}
