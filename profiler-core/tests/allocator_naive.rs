//! The fast allocator against a naive one written straight from the rules: one list of blocks,
//! searched from end to end for everything.

#![allow(clippy::unwrap_used, reason = "a test")]

use profiler_core::allocator::{
    Allocator, BlockId, Collection, Device, Dialect, Driver, Piece, Rules, Settings, TorchVersion,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Used,
    Pending,
    Free,
    Unmapped,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    address: u64,
    size: u64,
    requested: u64,
    stream: u64,
    pool: u32,
    is_small: bool,
    /// The segment's number, which is also its age.
    segment: u64,
    is_expandable: bool,
    /// First byte of the segment's address range: pages are counted from there.
    base: u64,
    state: State,
    /// Number of searches of its pool when it became free.
    freed_at: u64,
}

struct Naive {
    conf: Settings,
    by_age: bool,
    is_npu: bool,
    device: Device,
    /// By address.
    blocks: Vec<Block>,
    segments: u64,
    reserved: u64,
    peak: u64,
    retries: u64,
    /// (pool, is_small, searches).
    searches: Vec<(u32, bool, u64)>,
}

impl Naive {
    fn round(&self, size: u64) -> u64 {
        let size = if self.is_npu { size + 32 } else { size };
        if size < 512 {
            return 512;
        }
        let mut interval = 0;
        while interval < 15 && size >= (2 * MIB) << interval {
            interval += 1;
        }
        let divisions = self.conf.roundup_power2_divisions[interval];
        if divisions > 1 && size > 512 * divisions {
            if size.is_power_of_two() {
                return size;
            }
            let floor = size.next_power_of_two() / 2;
            let step = floor / divisions;
            return if step == 0 {
                floor * 2
            } else {
                size.div_ceil(step) * step
            };
        }
        size.div_ceil(512) * 512
    }

    fn searches(&mut self, pool: u32, is_small: bool) -> &mut u64 {
        let known = |row: &(u32, bool, u64)| (row.0, row.1) == (pool, is_small);
        let at = self.searches.iter().position(known).unwrap_or_else(|| {
            self.searches.push((pool, is_small, 0));
            self.searches.len() - 1
        });
        &mut self.searches[at].2
    }

    fn has_garbage_collection(&self) -> bool {
        self.conf.garbage_collection_threshold > 0.0
    }

    /// Index of the block before or after, if it is in the same segment.
    fn neighbour(&self, at: usize, step: isize) -> Option<usize> {
        let other = at.checked_add_signed(step)?;
        let block = self.blocks.get(other)?;
        (block.segment == self.blocks[at].segment).then_some(other)
    }

    fn is_split(&self, at: usize) -> bool {
        self.neighbour(at, -1).is_some() || self.neighbour(at, 1).is_some()
    }

    fn at(&self, address: u64) -> usize {
        let found = self
            .blocks
            .iter()
            .position(|block| block.address == address);
        found.unwrap()
    }

    fn set_free(&mut self, at: usize) {
        let (pool, is_small) = (self.blocks[at].pool, self.blocks[at].is_small);
        let now = *self.searches(pool, is_small);
        self.blocks[at].state = State::Free;
        self.blocks[at].freed_at = now;
    }

    /// Cuts a block; the second part has the same state.
    fn cut(&mut self, at: usize, size: u64) {
        let mut rest = self.blocks[at];
        rest.address += size;
        rest.size -= size;
        self.blocks[at].size = size;
        self.blocks.insert(at + 1, rest);
    }

    /// Merges equal neighbours (free with free, unmapped with unmapped) of the block at `at`.
    fn merge(&mut self, mut at: usize) -> usize {
        if let Some(before) = self.neighbour(at, -1)
            && self.blocks[before].state == self.blocks[at].state
        {
            self.blocks[before].size += self.blocks[at].size;
            self.blocks[before].freed_at = self.blocks[at].freed_at;
            self.blocks.remove(at);
            at = before;
        }
        if let Some(after) = self.neighbour(at, 1)
            && self.blocks[after].state == self.blocks[at].state
        {
            self.blocks[at].size += self.blocks[after].size;
            self.blocks.remove(after);
        }
        at
    }

    fn release(&mut self, at: usize) {
        self.set_free(at);
        self.merge(at);
    }

    /// Free blocks of a pool in search order.
    fn free_blocks(&self, pool: u32, is_small: bool) -> Vec<Block> {
        let mut free: Vec<Block> = self
            .blocks
            .iter()
            .filter(|b| b.state == State::Free && (b.pool, b.is_small) == (pool, is_small))
            .copied()
            .collect();
        let age = |block: &Block| if self.by_age { block.segment } else { 0 };
        free.sort_by_key(|block| (block.stream, block.size, age(block), block.address));
        free
    }

    fn find(&mut self, rounded: u64, stream: u64, pool: u32) -> Option<u64> {
        let is_small = rounded <= MIB;
        if self.has_garbage_collection() {
            *self.searches(pool, is_small) += 1;
        }
        let fitting: Vec<Block> = self
            .free_blocks(pool, is_small)
            .into_iter()
            .filter(|block| block.stream == stream && block.size >= rounded)
            .collect();
        let mut chosen = 0;
        if fitting.first()?.is_expandable {
            let with_growth = |block: &Block| {
                let next = self.neighbour(self.at(block.address), 1);
                let next = next.map(|next| self.blocks[next]);
                let unmapped = next.filter(|next| next.state == State::Unmapped);
                block.size + unmapped.map_or(0, |next| next.size)
            };
            if self.conf.expandable_segments {
                while chosen + 1 < fitting.len()
                    && fitting[chosen].is_expandable
                    && with_growth(&fitting[chosen + 1]) < with_growth(&fitting[chosen])
                {
                    chosen += 1;
                }
            } else {
                chosen = fitting.iter().position(|block| !block.is_expandable)?;
            }
        }
        let block = fitting[chosen];
        let limit = self.conf.max_split_size;
        if rounded < limit && block.size >= limit {
            return None;
        }
        if rounded >= limit && block.size >= rounded + self.conf.max_non_split_rounding {
            return None;
        }
        Some(block.address)
    }

    fn give_back_segment(&mut self, address: u64) {
        let at = self.at(address);
        let size = self.blocks[at].size;
        self.blocks.remove(at);
        self.device.free(Piece { address, size });
        self.reserved -= size;
    }

    fn whole_segments(&self, pool: u32, is_small: bool) -> Vec<Block> {
        let mut free = self.free_blocks(pool, is_small);
        free.retain(|block| !block.is_expandable && !self.is_split(self.at(block.address)));
        free
    }

    fn collect_garbage(&mut self) {
        let now = *self.searches(0, false);
        let held = self.reserved;
        let threshold = self.conf.garbage_collection_threshold;
        let mut reclaimed = 0;
        loop {
            let idle = self.whole_segments(0, false);
            if idle.is_empty() {
                return;
            }
            let age = |block: &Block| now - block.freed_at;
            let average = idle.iter().map(age).sum::<u64>() as f64 / idle.len() as f64;
            if self.device.collect(threshold, held, reclaimed, &[]) == Collection::Done {
                return;
            }
            for block in idle {
                if age(&block) as f64 >= average {
                    reclaimed += block.size;
                    self.give_back_segment(block.address);
                }
            }
        }
    }

    fn page(&self, is_small: bool) -> u64 {
        if is_small {
            2 * MIB
        } else {
            self.conf.large_segment_size
        }
    }

    /// Maps pages from the start of an unmapped block to cover `size` bytes.
    fn map(&mut self, address: u64, size: u64) -> bool {
        let at = self.at(address);
        let block = self.blocks[at];
        let page = self.page(block.is_small);
        let end = (address + size - block.base).div_ceil(page) * page + block.base;
        let size = (end - address).min(block.size);
        if !self.device.map(Piece { address, size }) {
            return false;
        }
        if size < block.size {
            self.cut(at, size);
        }
        self.reserved += size;
        self.release(at);
        true
    }

    fn grow(&mut self, rounded: u64, stream: u64, pool: u32) -> Option<u64> {
        let is_small = rounded <= MIB;
        let is_open = |block: &Block| matches!(block.state, State::Free | State::Unmapped);
        let mut start = None;
        for (at, block) in self.blocks.iter().enumerate() {
            let is_here = (block.stream, block.pool, block.is_small) == (stream, pool, is_small);
            if block.state != State::Unmapped || !is_here {
                continue;
            }
            let before = self.neighbour(at, -1).filter(|&b| is_open(&self.blocks[b]));
            let first = before.unwrap_or(at);
            let mut room = 0;
            let mut next = Some(first);
            while let Some(at) = next.filter(|&at| is_open(&self.blocks[at])) {
                room += self.blocks[at].size;
                next = self.neighbour(at, 1);
            }
            if room >= rounded {
                start = Some(self.blocks[first].address);
                break;
            }
        }
        let start = start.unwrap_or_else(|| {
            let piece = self.device.reserve(self.page(is_small));
            self.segments += 1;
            self.blocks.push(Block {
                address: piece.address,
                size: piece.size,
                requested: 0,
                stream,
                pool,
                is_small,
                segment: self.segments,
                is_expandable: true,
                base: piece.address,
                state: State::Unmapped,
                freed_at: 0,
            });
            self.blocks.sort_by_key(|block| block.address);
            piece.address
        });
        let block = self.blocks[self.at(start)];
        if block.state == State::Unmapped && !self.map(start, block.size.min(rounded)) {
            return None;
        }
        loop {
            // Mapping may have merged the start with a free block before it.
            let around =
                |block: &&Block| block.address <= start && start < block.address + block.size;
            let block = *self.blocks.iter().find(around).unwrap();
            if block.size >= rounded {
                return Some(block.address);
            }
            let next = self.blocks[self.neighbour(self.at(block.address), 1)?];
            if next.state != State::Unmapped {
                return None;
            }
            if !self.map(next.address, next.size.min(rounded - block.size)) {
                return None;
            }
        }
    }

    fn take_new(&mut self, rounded: u64, stream: u64, pool: u32) -> Option<u64> {
        let is_small = rounded <= MIB;
        let size = if is_small {
            2 * MIB
        } else if rounded < 10 * MIB {
            self.conf.large_segment_size
        } else {
            rounded.div_ceil(2 * MIB) * 2 * MIB
        };
        if !self.device.is_within_limit(self.reserved, size) {
            return None;
        }
        if self.conf.expandable_segments {
            return self.grow(rounded, stream, pool);
        }
        let address = self.device.allocate(size)?;
        self.segments += 1;
        self.reserved += size;
        self.blocks.push(Block {
            address,
            size,
            requested: 0,
            stream,
            pool,
            is_small,
            segment: self.segments,
            is_expandable: false,
            base: address,
            state: State::Free,
            freed_at: 0,
        });
        self.blocks.sort_by_key(|block| block.address);
        Some(address)
    }

    fn release_available(&mut self, rounded: u64, stream: u64, pool: u32) -> bool {
        let limit = self.conf.max_split_size;
        if limit == u64::MAX {
            return false;
        }
        let needed = rounded.max(limit);
        let mut whole = self.whole_segments(pool, rounded <= MIB);
        whole.retain(|block| block.stream == stream && block.size >= limit);
        let mut free = self.free_blocks(pool, rounded <= MIB);
        free.retain(|block| block.stream == stream && block.size >= needed);
        if let Some(first) = free.first()
            && whole.iter().any(|block| block.address == first.address)
        {
            self.give_back_segment(first.address);
            return true;
        }
        let mut released = 0;
        for block in whole.iter().rev().filter(|block| block.size < needed) {
            if released >= needed {
                break;
            }
            released += block.size;
            self.give_back_segment(block.address);
        }
        released >= needed
    }

    fn release_cached(&mut self) {
        while let Some(at) = self.blocks.iter().position(|b| b.state == State::Pending) {
            self.release(at);
        }
        for is_small in [false, true] {
            for block in self.whole_segments(0, is_small) {
                self.give_back_segment(block.address);
            }
            let page = self.page(is_small);
            for block in self.free_blocks(0, is_small) {
                if !block.is_expandable {
                    continue;
                }
                let begin = (block.address - block.base).div_ceil(page) * page + block.base;
                let end = (block.address + block.size - block.base) / page * page + block.base;
                if begin >= end {
                    continue;
                }
                let mut at = self.at(block.address);
                if begin > block.address {
                    self.cut(at, begin - block.address);
                    self.set_free(at);
                    at += 1;
                }
                if end < begin + self.blocks[at].size {
                    self.cut(at, end - begin);
                    self.set_free(at + 1);
                }
                self.blocks[at].state = State::Unmapped;
                let piece = Piece {
                    address: begin,
                    size: end - begin,
                };
                self.device.unmap(piece);
                self.reserved -= piece.size;
                let at = self.merge(at);
                if !self.is_split(at) {
                    self.blocks.remove(at);
                }
            }
        }
    }

    fn malloc(&mut self, requested: u64, stream: u64, pool: u32) -> Option<u64> {
        let rounded = self.round(requested);
        let mut found = self.find(rounded, stream, pool);
        if found.is_none() {
            if self.has_garbage_collection() {
                self.collect_garbage();
            }
            found = self.take_new(rounded, stream, pool);
            if found.is_none() && self.release_available(rounded, stream, pool) {
                found = self.take_new(rounded, stream, pool);
            }
            if found.is_none() && pool == 0 {
                self.release_cached();
                self.retries += 1;
                found = self.take_new(rounded, stream, pool);
            }
        }
        self.peak = self.peak.max(self.reserved);
        let mut at = self.at(found?);
        if self.is_npu && self.conf.expandable_segments && rounded >= 2 * MIB {
            // The front up to the next 16 KiB stays free, if the rest is enough.
            let front =
                self.blocks[at].address.next_multiple_of(16 << 10) - self.blocks[at].address;
            if front > 0 && front + rounded <= self.blocks[at].size {
                self.cut(at, front);
                self.set_free(at);
                at += 1;
            }
        }
        let rest = self.blocks[at].size - rounded;
        let splits = if rounded <= MIB || self.conf.expandable_segments {
            rest >= 512
        } else {
            rounded < self.conf.max_split_size && rest > MIB
        };
        if splits {
            self.cut(at, rounded);
            self.set_free(at + 1);
        }
        self.blocks[at].state = State::Used;
        self.blocks[at].requested = requested;
        Some(self.blocks[at].address)
    }
}

/// What a random program does.
#[derive(Clone, Debug)]
enum Call {
    Malloc { size: u64, stream: u64, pool: u32 },
    Free(usize),
    FreeLater(usize),
    Complete(usize),
    EmptyCache,
}

fn call() -> impl Strategy<Value = Call> {
    let size = prop_oneof![
        4 => 1_u64..4096,
        4 => (1_u64..2048).prop_map(|kib| kib << 10),
        4 => (1_u64..24).prop_map(|mib| mib << 20),
        2 => (1_u64..300).prop_map(|mib| (mib << 20) / 2),
    ];
    let pool = prop_oneof![12 => Just(0_u32), 1 => Just(1)];
    prop_oneof![
        10 => (size, 0_u64..2, pool).prop_map(|(size, stream, pool)| Call::Malloc {
            size,
            stream,
            pool
        }),
        8 => (0_usize..64).prop_map(Call::Free),
        1 => (0_usize..64).prop_map(Call::FreeLater),
        1 => (0_usize..64).prop_map(Call::Complete),
        1 => Just(Call::EmptyCache),
    ]
}

const CONFS: [&str; 10] = [
    "",
    "",
    "max_split_size_mb:32",
    "max_split_size_mb:64,max_non_split_rounding_mb:64",
    "expandable_segments:True",
    "expandable_segments:True,max_split_size_mb:32",
    "roundup_power2_divisions:[1:8,4:2,>:4]",
    "garbage_collection_threshold:0.4",
    "garbage_collection_threshold:0.3,max_split_size_mb:20",
    "large_segment_size_mb:12,roundup_power2_divisions:4",
];

fn run(conf: &str, (is_old, is_npu): (bool, bool), capacity: u64, limited: bool, calls: &[Call]) {
    let version = if is_old {
        TorchVersion::new(2, 10)
    } else {
        TorchVersion::NEWEST
    };
    let settings = Settings::from_conf(conf, TorchVersion::NEWEST).unwrap();
    let device = Device::new(capacity, limited.then_some(capacity * 9 / 10));
    let mut rules = Rules::cuda(version);
    if is_npu {
        rules.dialect = Dialect::Npu;
    }
    let mut fast = Allocator::new(rules, settings.clone(), device.clone());
    let mut naive = Naive {
        conf: settings,
        by_age: !is_old,
        is_npu,
        device,
        blocks: Vec::new(),
        segments: 0,
        reserved: 0,
        peak: 0,
        retries: 0,
        searches: Vec::new(),
    };
    let mut live: Vec<(BlockId, u64)> = Vec::new();
    let mut pending: Vec<(BlockId, u64)> = Vec::new();
    for call in calls {
        match *call {
            Call::Malloc { size, stream, pool } => {
                let block = fast.malloc(size, stream, pool).ok();
                let address = block.map(|block| fast.block(block).address);
                assert_eq!(address, naive.malloc(size, stream, pool), "{call:?}");
                if let Some(block) = block {
                    live.push((block, fast.block(block).address));
                } else {
                    // Everything pending was waited for, unless a capture forbade it.
                    pending.retain(|&(_, address)| {
                        let found = naive.blocks.iter().find(|b| b.address == address);
                        found.is_some_and(|b| b.state == State::Pending)
                    });
                }
            }
            Call::Free(n) if !live.is_empty() => {
                let (block, address) = live.swap_remove(n % live.len());
                fast.free(block);
                naive.release(naive.at(address));
            }
            Call::FreeLater(n) if !live.is_empty() => {
                let (block, address) = live.swap_remove(n % live.len());
                fast.free_later(block);
                let at = naive.at(address);
                naive.blocks[at].state = State::Pending;
                pending.push((block, address));
            }
            Call::Complete(n) if !pending.is_empty() => {
                let (block, address) = pending.swap_remove(n % pending.len());
                let found = naive.blocks.iter().position(|b| b.address == address);
                if let Some(at) = found.filter(|&at| naive.blocks[at].state == State::Pending) {
                    naive.release(at);
                    fast.complete_free(block);
                }
            }
            Call::EmptyCache => {
                fast.empty_cache();
                naive.release_cached();
                pending.clear();
            }
            _ => {}
        }
        // A retry inside a successful call waits for pending blocks too.
        pending.retain(|&(_, address)| {
            let found = naive.blocks.iter().find(|b| b.address == address);
            found.is_some_and(|b| b.state == State::Pending)
        });
        let counters = fast.counters();
        assert_eq!(counters.reserved.current, naive.reserved, "{call:?}");
        assert_eq!(counters.alloc_retries, naive.retries, "{call:?}");
        let sum = |states: &[State], of: fn(&Block) -> u64| -> u64 {
            let blocks = naive.blocks.iter();
            blocks.filter(|b| states.contains(&b.state)).map(of).sum()
        };
        let size = |block: &Block| block.size;
        assert_eq!(counters.allocated.current, sum(&[State::Used], size));
        assert_eq!(
            counters.active.current,
            sum(&[State::Used, State::Pending], size)
        );
        assert_eq!(
            counters.requested.current,
            sum(&[State::Used, State::Pending], |block| block.requested)
        );
        let split_free: u64 = naive
            .blocks
            .iter()
            .enumerate()
            .filter(|(at, b)| b.state == State::Free && !b.is_expandable && naive.is_split(*at))
            .map(|(_, block)| block.size)
            .sum();
        assert_eq!(counters.inactive_split.current, split_free, "{call:?}");
    }
}

/// `PROPTEST_CASES`, else a number that takes a second. 100,000 are for development.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES");
    asked
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_fast_allocator_does_what_the_rules_say(
        conf in prop::sample::select(CONFS.to_vec()),
        is_old in any::<bool>(),
        is_npu in prop::bool::weighted(0.2),
        capacity_mib in prop_oneof![Just(1_u64 << 20), 100_u64..1500],
        limited in any::<bool>(),
        calls in prop::collection::vec(call(), 1..150),
    ) {
        run(conf, (is_old, is_npu), capacity_mib * MIB, limited, &calls);
    }
}
