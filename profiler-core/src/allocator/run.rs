//! A program run on a simulated device.

use super::block::BlockId;
use super::device::Device;
use super::driver::Piece;
use super::model::{Allocator, OutOfMemory};
use super::program::{Program, Step};
use super::settings::Settings;
use super::version::Rules;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At the end of the trace.
    Finished,
    /// Out of memory where the recording was not: what the program would have done then is
    /// unknown.
    OutOfMemory {
        /// The row of the allocation.
        event: u32,
        /// What it needed.
        failure: OutOfMemory,
    },
    /// Where the recording ran out of memory and this run does not: what the program would have
    /// done then is unknown.
    AvoidedOutOfMemory {
        /// The row of the recorded failure.
        event: u32,
    },
    /// The caller asked to stop.
    Stopped,
}

/// A program in the middle of a run.
pub(super) struct SimulatedRun<'a> {
    program: &'a Program,
    pub(super) allocator: Allocator<Device>,
    handles: Vec<BlockId>,
    /// The first failure the recording has too.
    pub(super) shared_oom: Option<u32>,
    /// The block of a request that failed in the recording and was served here, and its event.
    pub(super) avoided: Option<(BlockId, u32)>,
    /// Allocations served.
    pub(super) served: u64,
}

impl<'a> SimulatedRun<'a> {
    /// Starts from the state the recording starts from.
    pub(super) fn new(
        program: &'a Program,
        rules: Rules,
        settings: &Settings,
        mut device: Device,
    ) -> Self {
        for segment in &program.start.segments {
            device.hold(Piece {
                address: segment.address,
                size: segment.size,
            });
        }
        device.follow(&program.segments);
        let mut allocator = Allocator::new(rules, settings.clone(), device);
        let mut handles = allocator.restore(&program.start);
        handles.resize(program.requests.len(), BlockId::NONE);
        Self {
            program,
            allocator,
            handles,
            shared_oom: None,
            avoided: None,
            served: 0,
        }
    }

    /// Runs to the end. After each step `observe` is told the event and may stop the run.
    pub(super) fn run(
        &mut self,
        mut observe: impl FnMut(u32, &Allocator<Device>) -> bool,
    ) -> Ending {
        let program = self.program;
        let mut released_pools = program.released_pools.iter().peekable();
        for timed in &program.steps {
            while let Some(&(_, pool)) = released_pools.next_if(|&&(event, _)| event <= timed.event)
            {
                self.allocator.driver_mut().set_freeable(pool);
            }
            let ending = self.step(timed.event, timed.step);
            if !observe(timed.event, &self.allocator) {
                return Ending::Stopped;
            }
            if let Some(ending) = ending {
                return ending;
            }
        }
        Ending::Finished
    }

    /// Runs to the end or the first failure; failures the recording has count too, and where the
    /// recording fails and this run does not it goes on.
    pub(super) fn serves_everything(&mut self) -> bool {
        let program = self.program;
        let mut released_pools = program.released_pools.iter().peekable();
        program.steps.iter().all(|timed| {
            while let Some(&(_, pool)) = released_pools.next_if(|&&(event, _)| event <= timed.event)
            {
                self.allocator.driver_mut().set_freeable(pool);
            }
            let ending = self.step(timed.event, timed.step);
            if let Some((block, _)) = self.avoided.take() {
                // How long it would have been kept is unknown.
                self.allocator.free(block);
            }
            match ending {
                Some(Ending::OutOfMemory { .. }) => false,
                _ => self.shared_oom.is_none(),
            }
        })
    }

    #[inline]
    fn step(&mut self, event: u32, step: Step) -> Option<Ending> {
        let handle = |request: u32| {
            let handle = self.handles.get(request as usize);
            handle.copied().unwrap_or(BlockId::NONE)
        };
        match step {
            Step::Malloc(request) => {
                let wanted = self.program.requests.get(request as usize)?;
                let served = self
                    .allocator
                    .malloc(wanted.requested, wanted.stream, wanted.pool);
                match served {
                    Ok(block) => {
                        self.served += 1;
                        if let Some(slot) = self.handles.get_mut(request as usize) {
                            *slot = block;
                        }
                    }
                    Err(failure) => return Some(Ending::OutOfMemory { event, failure }),
                }
            }
            Step::Free(request) => self.allocator.free(handle(request)),
            Step::FreeLater(request) => self.allocator.free_later(handle(request)),
            Step::CompleteFree(request) => self.allocator.complete_free(handle(request)),
            Step::EmptyCache => self.allocator.empty_cache(),
            Step::FailedMalloc {
                rounded,
                stream,
                pool,
            } => {
                if let Ok(block) = self.allocator.malloc(rounded, stream, pool) {
                    self.avoided = Some((block, event));
                    return Some(Ending::AvoidedOutOfMemory { event });
                }
                self.shared_oom = self.shared_oom.or(Some(event));
            }
            Step::Snapshot(_) => {}
        }
        None
    }

    /// Handles by request.
    pub(super) fn handles(&self) -> &[BlockId] {
        &self.handles
    }
}
