//! The replay against a naive allocator that writes down its whole state after every event.
//!
//! The naive side keeps plain lists and looks through all of them each time (O(n²) over a
//! program); it decides for itself where blocks go, so that the replay has to find out from the
//! events. Dropping the first events stands for a recording that began late or a ring buffer
//! that wrapped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use profiler_core::allocator::{Dialect, Settings, SizeRules};
use profiler_core::metrics::{Fragmentation, FragmentationHistory};
use profiler_core::replay::Replay;
use profiler_core::snapshot::{
    Action, Block, BlockState, DeviceId, Event, Segment, SegmentKind, Snapshot, Trace,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// One thing a program does.
#[derive(Clone, Debug)]
enum Op {
    /// Asks for bytes; the second number picks one of the gaps that fit.
    Alloc(u64, usize),
    /// Lets go of one of the live blocks; true keeps it pending for a while.
    Free(usize, bool),
    /// Another stream is done with one of the pending blocks.
    Complete(usize),
    /// Gives whole free segments back.
    EmptyCache,
}

#[derive(Clone, Debug)]
struct NaiveBlock {
    address: u64,
    size: u64,
    requested: u64,
    state: BlockState,
}

#[derive(Clone, Debug)]
struct NaiveSegment {
    address: u64,
    size: u64,
    kind: SegmentKind,
    /// Covers the segment; two inactive neighbours never stand side by side.
    blocks: Vec<NaiveBlock>,
}

struct Naive {
    rules: SizeRules,
    segments: Vec<NaiveSegment>,
    next_address: u64,
    events: Vec<Event>,
    /// The parts after each event, the first before any.
    states: Vec<Fragmentation>,
}

impl Naive {
    fn new() -> Self {
        let rules = SizeRules::new(Dialect::Cuda, &Settings::default());
        let mut naive = Self {
            rules,
            segments: Vec::new(),
            next_address: 0x7000_0000_0000,
            events: Vec::new(),
            states: Vec::new(),
        };
        naive.states.push(naive.parts());
        naive
    }

    /// The parts, from scratch.
    fn parts(&self) -> Fragmentation {
        let mut parts = Fragmentation::default();
        for segment in &self.segments {
            parts.reserved_bytes += segment.size;
            let live = segment.blocks.iter().any(|block| block.state.is_active());
            for block in &segment.blocks {
                let rounded = self.rules.round_size(block.requested);
                match block.state {
                    BlockState::Allocated => {
                        parts.requested_bytes += block.requested;
                        parts.rounding_bytes += rounded - block.requested;
                        parts.slack_bytes += block.size - rounded;
                    }
                    BlockState::PendingFree => parts.pending_bytes += block.size,
                    BlockState::Inactive if live => parts.split_free_bytes += block.size,
                    BlockState::Inactive => parts.whole_free_bytes += block.size,
                }
            }
        }
        parts
    }

    fn emit(&mut self, action: Action, address: u64, size: u64) {
        self.events.push(Event {
            action,
            address,
            size,
            ..Event::default()
        });
        let parts = self.parts();
        self.states.push(parts);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Alloc(requested, pick) => self.alloc(requested, pick),
            Op::Free(pick, pending) => self.free(pick, pending),
            Op::Complete(pick) => {
                let pending = self.blocks_in(BlockState::PendingFree);
                if let Some(&address) = pending.get(pick % pending.len().max(1)) {
                    self.complete(address);
                }
            }
            Op::EmptyCache => {
                let whole = |segment: &NaiveSegment| {
                    segment.blocks.iter().all(|block| !block.state.is_active())
                };
                while let Some(at) = self.segments.iter().position(whole) {
                    let segment = self.segments.remove(at);
                    self.emit(Action::SegmentFree, segment.address, segment.size);
                }
            }
        }
    }

    fn blocks_in(&self, state: BlockState) -> Vec<u64> {
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        blocks
            .filter(|block| block.state == state)
            .map(|block| block.address)
            .collect()
    }

    fn alloc(&mut self, requested: u64, pick: usize) {
        let rounded = self.rules.round_size(requested);
        let kind = self.rules.kind(rounded);
        let fitting: Vec<(usize, usize)> = (0..self.segments.len())
            .filter(|&s| self.segments[s].kind == kind)
            .flat_map(|s| (0..self.segments[s].blocks.len()).map(move |b| (s, b)))
            .filter(|&(s, b)| {
                let block = &self.segments[s].blocks[b];
                !block.state.is_active() && block.size >= rounded
            })
            .collect();
        let (s, b) = match fitting.get(pick % fitting.len().max(1)) {
            Some(&found) => found,
            None => {
                let size = self.rules.segment_size(rounded);
                let address = self.next_address;
                // Sometimes segments touch: they must not be taken for one.
                self.next_address += size + if pick.is_multiple_of(2) { 0 } else { 2 * MIB };
                let gap = NaiveBlock {
                    address,
                    size,
                    requested: 0,
                    state: BlockState::Inactive,
                };
                self.segments.push(NaiveSegment {
                    address,
                    size,
                    kind,
                    blocks: vec![gap],
                });
                self.emit(Action::SegmentAlloc, address, size);
                (self.segments.len() - 1, 0)
            }
        };
        let blocks = &mut self.segments[s].blocks;
        let gap = blocks[b].clone();
        let splits = self.rules.should_split(kind, gap.size, rounded);
        let size = if splits { rounded } else { gap.size };
        blocks[b] = NaiveBlock {
            address: gap.address,
            size,
            requested,
            state: BlockState::Allocated,
        };
        if gap.size > size {
            let rest = NaiveBlock {
                address: gap.address + size,
                size: gap.size - size,
                requested: 0,
                state: BlockState::Inactive,
            };
            blocks.insert(b + 1, rest);
        }
        self.emit(Action::Alloc, gap.address, requested);
    }

    fn free(&mut self, pick: usize, pending: bool) {
        let live = self.blocks_in(BlockState::Allocated);
        let Some(&address) = live.get(pick % live.len().max(1)) else {
            return;
        };
        let block = self.block_mut(address);
        block.state = BlockState::PendingFree;
        let requested = block.requested;
        self.emit(Action::FreeRequested, address, requested);
        if !pending {
            self.complete(address);
        }
    }

    fn complete(&mut self, address: u64) {
        let block = self.block_mut(address);
        block.state = BlockState::Inactive;
        let requested = block.requested;
        for segment in &mut self.segments {
            let mut at = 1;
            while at < segment.blocks.len() {
                if segment.blocks[at].state.is_active() || segment.blocks[at - 1].state.is_active()
                {
                    at += 1;
                } else {
                    segment.blocks[at - 1].size += segment.blocks.remove(at).size;
                }
            }
        }
        self.emit(Action::FreeCompleted, address, requested);
    }

    fn block_mut(&mut self, address: u64) -> &mut NaiveBlock {
        let mut blocks = self
            .segments
            .iter_mut()
            .flat_map(|segment| &mut segment.blocks);
        blocks.find(|block| block.address == address).unwrap()
    }

    /// The snapshot a recording from event `from` on would give.
    fn snapshot(&self, from: usize) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut trace = Trace::default();
        for event in &self.events[from..] {
            trace.events.push(event);
        }
        snapshot.traces.push(trace);
        for segment in &self.segments {
            let blocks = segment.blocks.iter().map(|block| Block {
                address: block.address,
                size: block.size,
                requested_size: block.requested,
                state: block.state,
                ..Block::default()
            });
            let blocks: Vec<Block> = blocks.collect();
            let head = Segment {
                address: segment.address,
                total_size: segment.size,
                kind: segment.kind,
                ..Segment::default()
            };
            snapshot.segments.push(head, &blocks);
        }
        snapshot
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![
        1..4096_u64,
        (1..2048_u64).prop_map(|kib| kib << 10),
        (1..40_u64).prop_map(|mib| mib * MIB),
        (1..30_u64).prop_map(|mib| mib * MIB + 100),
    ];
    let op = prop_oneof![
        5 => (size, any::<usize>()).prop_map(|(size, pick)| Op::Alloc(size, pick)),
        3 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(at, wait)| Op::Free(at, wait)),
        1 => any::<usize>().prop_map(Op::Complete),
        1 => Just(Op::EmptyCache),
    ];
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_whole_recording_gives_every_state_exactly(ops in ops()) {
        let mut naive = Naive::new();
        ops.iter().for_each(|op| naive.run(op));
        let snapshot = naive.snapshot(0);
        let replay = Replay::new(&snapshot);
        prop_assert!(replay.warnings.all().is_empty(), "{:?}", replay.warnings);
        let Some(device) = replay.device(DeviceId(0)) else { return Ok(()) };
        let mut found = vec![None; naive.states.len()];
        FragmentationHistory::walk(&snapshot, device, |moment, parts| {
            found[moment as usize] = Some(*parts);
        });
        for (moment, (found, expected)) in found.iter().zip(&naive.states).enumerate() {
            prop_assert_eq!(found.as_ref(), Some(expected), "moment {}", moment);
        }
    }

    #[test]
    fn a_late_recording_gives_every_sum_exactly(ops in ops(), skip in 0.0..1.0_f64) {
        let mut naive = Naive::new();
        ops.iter().for_each(|op| naive.run(op));
        let from = (naive.events.len() as f64 * skip) as usize;
        let snapshot = naive.snapshot(from);
        let replay = Replay::new(&snapshot);
        let Some(device) = replay.device(DeviceId(0)) else { return Ok(()) };
        prop_assert!(device.disagreements.is_none(), "{:?}", device.disagreements);
        let unsure = device.layout.unsure_slack_bytes > 0;
        let mut expected_peak = 0;
        let mut failure = None;
        let mut seen = 0;
        FragmentationHistory::walk(&snapshot, device, |moment, parts| {
            seen += 1;
            let expected = naive.states[from + moment as usize];
            let same = if unsure {
                // Slack of blocks from before the recording may be taken for free space.
                parts.adds_up()
                    && parts.reserved_bytes == expected.reserved_bytes
                    && parts.requested_bytes == expected.requested_bytes
            } else {
                *parts == expected
            };
            if !same {
                failure.get_or_insert((moment, *parts, expected));
            }
        });
        prop_assert!(failure.is_none(), "{failure:?}, layout {:?}", device.layout);
        prop_assert!(seen > 0);
        for state in &naive.states[from..] {
            expected_peak = expected_peak.max(state.reserved_bytes);
        }
        prop_assert_eq!(device.reserved.peak().1, expected_peak);
    }
}
