//! What a program asked of the allocator, taken from its trace: the part of a recording that
//! stays the same under other settings.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::driver::Piece;
use super::rounding::SizeRules;
use super::start_state::StartState;
use crate::snapshot::{Action, DeviceId, Events, Snapshot};

/// One thing the program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asked for [`Program::requests`]`[n]` and got it.
    Malloc(u32),
    /// Asked for `n` bytes (as rounded) and did not get them.
    FailedMalloc {
        /// Rounded bytes.
        rounded: u64,
        /// The stream's pointer.
        stream: u64,
        /// The pool's number.
        pool: u32,
    },
    /// Let go of request `n`, which no other stream used.
    Free(u32),
    /// Let go of request `n` while another stream still used it.
    FreeLater(u32),
    /// The other streams were done with request `n`.
    CompleteFree(u32),
    /// `torch.cuda.empty_cache()`, as far as it had something to give back.
    EmptyCache,
    /// Took a snapshot when this many bytes were active.
    Snapshot(u64),
}

/// A step and the event that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedStep {
    /// The row in the trace; for [`Step::EmptyCache`] that of the last segment given back.
    pub event: u32,
    /// What happened.
    pub step: Step,
}

/// One allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRequest {
    /// Bytes asked for.
    pub requested: u64,
    /// The stream's pointer.
    pub stream: u64,
    /// The pool's number; 0 is the default pool.
    pub pool: u32,
    /// Where the recording has it.
    pub address: u64,
}

/// The requests of one device in order.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The device.
    pub device: DeviceId,
    /// What was there when recording began.
    pub start: StartState,
    /// Every allocation: first those of [`StartState::blocks`], in order, then the trace's.
    pub requests: Vec<ProgramRequest>,
    /// What happened.
    pub steps: Vec<TimedStep>,
    /// The segments that the driver gave, in order.
    pub segments: Vec<Piece>,
    /// Frees that another stream held up.
    pub late_frees: u64,
    /// Runs of segments given back that were read as `empty_cache()` calls.
    pub empty_caches: u64,
    /// Private pools whose memory was given back, with the event: no graph used them then.
    pub released_pools: Vec<(u32, u32)>,
    /// Frees of addresses at which nothing was live (edited files).
    pub unknown_frees: u64,
}

impl Program {
    /// One more than the row of the last step.
    #[must_use]
    pub fn event_count(&self) -> u32 {
        let last = self.steps.last();
        last.map_or(0, |timed| timed.event.saturating_add(1))
    }

    /// Most bytes asked for and not yet freed, and most bytes of blocks not let go of, each
    /// request rounded by `rules`: what any allocator with those rules has at least.
    #[must_use]
    pub fn peaks(&self, rules: &SizeRules) -> (u64, u64) {
        let requested = |request: u32| {
            let request = self.requests.get(request as usize);
            request.map_or(0, |request| request.requested)
        };
        let rounded = |request: u32| rules.round_size(requested(request));
        let (mut live, mut allocated) = (0_u64, 0_u64);
        let mut let_go = vec![false; self.requests.len()];
        for (request, block) in (0..).zip(&self.start.blocks) {
            live = live.saturating_add(block.requested);
            if block.is_pending {
                if let Some(let_go) = let_go.get_mut(request as usize) {
                    *let_go = true;
                }
            } else {
                allocated = allocated.saturating_add(rounded(request));
            }
        }
        let mut peaks = (live, allocated);
        for timed in &self.steps {
            let (Step::Malloc(request)
            | Step::Free(request)
            | Step::FreeLater(request)
            | Step::CompleteFree(request)) = timed.step
            else {
                continue;
            };
            if let Step::Malloc(_) = timed.step {
                live = live.saturating_add(requested(request));
                allocated = allocated.saturating_add(rounded(request));
                peaks = (peaks.0.max(live), peaks.1.max(allocated));
                continue;
            }
            if let Some(let_go) = let_go.get_mut(request as usize)
                && !std::mem::replace(let_go, true)
            {
                allocated = allocated.saturating_sub(rounded(request));
            }
            if !matches!(timed.step, Step::FreeLater(_)) {
                live = live.saturating_sub(requested(request));
            }
        }
        peaks
    }

    /// The program behind `device`'s trace from event `from` on.
    #[must_use]
    pub fn extract(snapshot: &Snapshot, device: DeviceId, rules: &SizeRules, from: u32) -> Self {
        let (start, segment_pools) = StartState::rewind(snapshot, device, rules, from);
        let no_events = Events::default();
        let events = snapshot
            .trace(device)
            .map_or(&no_events, |trace| &trace.events);
        let mut extraction = Extraction::new(snapshot, device, start, segment_pools);
        let mut row = from as usize;
        while row < events.len() {
            row = extraction.take(events, row);
        }
        extraction.program
    }
}

/// Where a segment is and which pool it belongs to; enough to give allocations of traces without
/// pool ids their pool.
type Ranges = std::collections::BTreeMap<u64, (u64, u32)>;

struct Extraction<'a> {
    snapshot: &'a Snapshot,
    live: HashMap<u64, u32, FixedState>,
    ranges: Ranges,
    segment_pools: Vec<(u32, u32)>,
    program: Program,
}

impl<'a> Extraction<'a> {
    fn new(
        snapshot: &'a Snapshot,
        device: DeviceId,
        start: StartState,
        segment_pools: Vec<(u32, u32)>,
    ) -> Self {
        let mut ranges = Ranges::new();
        for segment in &start.segments {
            ranges.insert(segment.address, (segment.end(), segment.pool));
        }
        let mut live = HashMap::default();
        let mut requests = Vec::new();
        let mut segments = start.segments.iter().peekable();
        for block in &start.blocks {
            while segments
                .peek()
                .is_some_and(|segment| segment.end() <= block.address)
            {
                segments.next();
            }
            let (stream, pool) = segments
                .peek()
                .map_or((0, 0), |segment| (segment.stream, segment.pool));
            live.insert(block.address, requests.len() as u32);
            requests.push(ProgramRequest {
                requested: block.requested,
                stream,
                pool,
                address: block.address,
            });
        }
        Self {
            snapshot,
            live,
            ranges,
            segment_pools,
            program: Program {
                device,
                start,
                requests,
                ..Program::default()
            },
        }
    }

    /// Reads the event at `row` and those that belong to it; returns the next row.
    fn take(&mut self, events: &Events, row: usize) -> usize {
        let address = events.address(row);
        match events.action(row) {
            Action::Alloc => {
                let request = self.program.requests.len() as u32;
                let pool = self.pool(events, row);
                self.program.requests.push(ProgramRequest {
                    requested: events.size(row),
                    stream: self.stream(events, row),
                    pool,
                    address,
                });
                self.live.insert(address, request);
                self.push(row, Step::Malloc(request));
            }
            Action::FreeRequested => {
                let Some(&request) = self.live.get(&address) else {
                    self.program.unknown_frees += 1;
                    return row + 1;
                };
                let completes = events.action(row + 1) == Action::FreeCompleted
                    && events.address(row + 1) == address
                    && row + 1 < events.len();
                if completes {
                    self.live.remove(&address);
                    self.push(row, Step::Free(request));
                    return row + 2;
                }
                self.program.late_frees += 1;
                self.push(row, Step::FreeLater(request));
            }
            Action::FreeCompleted => match self.live.remove(&address) {
                Some(request) => self.push(row, Step::CompleteFree(request)),
                None => self.program.unknown_frees += 1,
            },
            Action::SegmentAlloc => {
                let event = row as u32;
                let known = self.segment_pools.binary_search_by_key(&event, |&(e, _)| e);
                let known = known.ok().and_then(|at| self.segment_pools.get(at));
                let pool = known.map_or(0, |&(_, pool)| pool);
                let size = events.size(row);
                let end = address.saturating_add(size);
                self.ranges.insert(address, (end, pool));
                self.program.segments.push(Piece { address, size });
            }
            Action::SegmentFree | Action::SegmentUnmap => return self.take_release(events, row),
            Action::Oom => {
                let step = Step::FailedMalloc {
                    rounded: events.size(row),
                    stream: self.stream(events, row),
                    pool: if events.has_pools() {
                        events.pool(row).0
                    } else {
                        0
                    },
                };
                self.push(row, step);
            }
            Action::Snapshot => self.push(row, Step::Snapshot(events.size(row))),
            _ => {}
        }
        row + 1
    }

    /// A run of segments given back: by `empty_cache()`, or by an allocation that follows.
    fn take_release(&mut self, events: &Events, row: usize) -> usize {
        let is_release = |row: usize| {
            matches!(
                events.action(row),
                Action::SegmentFree | Action::SegmentUnmap
            )
        };
        let mut end = row;
        while end < events.len() && is_release(end) {
            let pool = self.pool(events, end);
            if pool != 0 {
                self.program.released_pools.push((end as u32, pool));
            }
            if events.action(end) == Action::SegmentFree {
                self.ranges.remove(&events.address(end));
            }
            end += 1;
        }
        let next = if end < events.len() {
            events.action(end)
        } else {
            Action::Other
        };
        let grows = matches!(
            next,
            Action::SegmentAlloc | Action::SegmentMap | Action::Oom
        );
        // An allocation that releases to make room records its own stack with what it releases,
        // and always grows, or fails, after. Where nothing has a stack the two look alike; then
        // a private pool tells, since nothing is released while one is in use.
        let has_stacks = !(events.stack(row).is_empty() && events.stack(end).is_empty());
        let by_allocation = grows
            && if has_stacks {
                events.stack(row) == events.stack(end)
            } else {
                self.pool(events, end) == 0
            };
        if !by_allocation {
            self.program.empty_caches += 1;
            self.push(end - 1, Step::EmptyCache);
        }
        end
    }

    fn push(&mut self, row: usize, step: Step) {
        self.program.steps.push(TimedStep {
            event: row as u32,
            step,
        });
    }

    fn stream(&self, events: &Events, row: usize) -> u64 {
        self.snapshot.streams.pointer(events.stream(row)) as u64
    }

    fn pool(&self, events: &Events, row: usize) -> u32 {
        if events.has_pools() {
            return events.pool(row).0;
        }
        let address = events.address(row);
        let range = self.ranges.range(..=address).next_back();
        match range {
            Some((_, &(end, pool))) if address < end => pool,
            _ => 0,
        }
    }
}
