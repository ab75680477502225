//! A recording being replayed, step by step.

use std::borrow::Cow;

use super::block::BlockId;
use super::driver::Piece;
use super::fidelity::Disagreement;
use super::model::Allocator;
use super::program::{Program, Step};
use super::recorded_driver::{Deviation, RecordedDriver, SegmentEvent};
use super::settings::Settings;
use super::version::Rules;
use crate::snapshot::Action;

/// A program being replayed against its recording.
pub(super) struct Run<'a> {
    program: Cow<'a, Program>,
    pub(super) allocator: Allocator<RecordedDriver<'a>>,
    pub(super) handles: Vec<BlockId>,
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
        Self::start(Cow::Borrowed(program), events, rules, settings, from)
    }

    pub(super) fn new_owned(
        program: Program,
        events: &'a [SegmentEvent],
        rules: Rules,
        settings: &Settings,
        from: u32,
    ) -> Self {
        Self::start(Cow::Owned(program), events, rules, settings, from)
    }

    fn start(
        program: Cow<'a, Program>,
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

    pub(super) fn step(&mut self, program: &Program, event: u32, step: Step) -> Option<Conflict> {
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
    pub(super) fn disagreement(&self) -> Disagreement {
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
