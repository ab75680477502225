//! Small programs with known numbers: those of "When does fragmentation occur in the CUDA
//! caching allocator?" (E. Z. Yang's development log, 2026-06-01) and of PyTorch pull request
//! 193400.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use profiler_core::allocator::{Allocator, BlockId, Device, Rules, Settings, TorchVersion};

const MIB: u64 = 1 << 20;

fn allocator(conf: &str) -> Allocator<Device> {
    let version = TorchVersion::NEWEST;
    let settings = Settings::from_conf(conf, version).unwrap();
    Allocator::new(Rules::cuda(version), settings, Device::new(u64::MAX, None))
}

fn malloc(allocator: &mut Allocator<Device>, bytes: u64) -> BlockId {
    allocator.malloc(bytes, 0, 0).unwrap()
}

fn reserved_mib(allocator: &Allocator<Device>) -> u64 {
    assert_eq!(allocator.counters().reserved.current % MIB, 0);
    allocator.counters().reserved.current / MIB
}

/// Allocates and frees `count` blocks of `bytes`.
fn fill_and_free(allocator: &mut Allocator<Device>, count: usize, bytes: u64) {
    let blocks: Vec<_> = (0..count).map(|_| malloc(allocator, bytes)).collect();
    for block in blocks {
        allocator.free(block);
    }
}

/// ```text
/// 8 × │16│  free      4 × │  32  │ fits in none of them: 128 + 128 MiB
/// ```
#[test]
fn small_segments_do_not_serve_larger_requests() {
    let mut allocator = allocator("");
    fill_and_free(&mut allocator, 8, 16 * MIB);
    assert_eq!(reserved_mib(&allocator), 128);
    fill_and_free(&mut allocator, 4, 32 * MIB);
    assert_eq!(reserved_mib(&allocator), 256);
}

/// ```text
/// 4 × │  32  │  free      8 × │16│ two to a segment: 128 MiB
/// ```
#[test]
fn the_reverse_order_fits() {
    let mut allocator = allocator("");
    fill_and_free(&mut allocator, 4, 32 * MIB);
    fill_and_free(&mut allocator, 8, 16 * MIB);
    assert_eq!(reserved_mib(&allocator), 128);
}

/// ```text
/// │ 2 │ 18 free │  free     ½ MiB is small and goes to a segment of its own pool: 20 + 2 MiB
///                          2 MiB is large and fits: 20 MiB
/// ```
#[test]
fn small_and_large_pools_never_share() {
    let mut first = allocator("");
    fill_and_free(&mut first, 1, 2 * MIB);
    malloc(&mut first, MIB / 2);
    assert_eq!(reserved_mib(&first), 22);

    let mut second = allocator("");
    fill_and_free(&mut second, 1, 2 * MIB);
    malloc(&mut second, 2 * MIB);
    assert_eq!(reserved_mib(&second), 20);
}

/// ```text
/// pages of 20 │……20……│……20……│……20……│
/// blocks      │ 16 │ 16 │ 16 │ 16 │     grow into what the page before has left
/// ```
#[test]
fn an_expandable_segment_grows_page_by_page() {
    let mut allocator = allocator("expandable_segments:True");
    let mut blocks = Vec::new();
    let mut mapped = Vec::new();
    for _ in 0..8 {
        blocks.push(malloc(&mut allocator, 16 * MIB));
        mapped.push(reserved_mib(&allocator));
    }
    assert_eq!(mapped, [20, 40, 60, 80, 80, 100, 120, 140]);
    for block in blocks {
        allocator.free(block);
    }
    for _ in 0..4 {
        malloc(&mut allocator, 32 * MIB);
    }
    assert_eq!(reserved_mib(&allocator), 140);
}

/// ```text
/// │ 16 free │ 16 │ 16 free │ 16 │    32 fits in no hole: the segment grows
/// │            64 free          │    32 fits
/// ```
#[test]
fn survivors_fragment_an_expandable_segment_too() {
    let mut allocator = allocator("expandable_segments:True");
    let blocks: Vec<_> = (0..4).map(|_| malloc(&mut allocator, 16 * MIB)).collect();
    allocator.free(blocks[0]);
    allocator.free(blocks[2]);
    let before = reserved_mib(&allocator);
    let grown = malloc(&mut allocator, 32 * MIB);
    let after = reserved_mib(&allocator);
    assert!(after > before);
    for block in [grown, blocks[1], blocks[3]] {
        allocator.free(block);
    }
    malloc(&mut allocator, 32 * MIB);
    assert_eq!(reserved_mib(&allocator), after);
}

/// Reserved MiB after cycles 0, 20, … 100 of: 91 MiB, 45.5 MiB, a 2 MiB keeper; free the first
/// two. Before them `base` MiB are allocated and kept.
///
/// ```text
/// │ A 91 │ B 45.5 │k│       free A, B: one free block of 136.5 MiB ≥ max_split_size,
/// │  136.5 free   │k│ ……    which serves no request below it: every cycle grows by 140
/// ```
fn cycles(conf: &str, base: u64) -> Vec<u64> {
    let mut allocator = allocator(conf);
    if base > 0 {
        malloc(&mut allocator, base * MIB);
    }
    let mut reserved = Vec::new();
    for cycle in 0..=100 {
        let a = malloc(&mut allocator, 91 * MIB);
        let b = malloc(&mut allocator, 91 * MIB / 2);
        malloc(&mut allocator, 2 * MIB);
        allocator.free(a);
        allocator.free(b);
        if cycle % 20 == 0 {
            reserved.push(reserved_mib(&allocator));
        }
    }
    reserved
}

#[test]
fn max_split_size_and_expandable_segments_together_leak() {
    let both = cycles("max_split_size_mb:128,expandable_segments:True", 64);
    assert_eq!(both, [220, 2980, 5760, 8520, 11300, 14060]);
    for alone in ["max_split_size_mb:128", "expandable_segments:True"] {
        let reserved = cycles(alone, 64);
        assert!(
            reserved.iter().all(|&mib| mib < 500),
            "{alone}: {reserved:?}"
        );
    }
    let plain = cycles("", 0);
    assert_eq!((plain[0], plain[5]), (158, 358));
}

/// ```text
/// capacity 100: │  60 free  │ 30 │ 10 │   40 does not fit in 10 until the 60 are given back
/// ```
#[test]
fn a_retry_gives_back_whole_segments_only() {
    let version = TorchVersion::NEWEST;
    let device = Device::new(100 * MIB, None);
    let mut allocator = Allocator::new(Rules::cuda(version), Settings::default(), device);
    let first = allocator.malloc(30 * MIB, 0, 0).unwrap();
    let second = allocator.malloc(60 * MIB, 0, 0).unwrap();
    allocator.free(second);
    // Too large for the 60 MiB block, and for the 10 MiB the device has left.
    allocator.malloc(64 * MIB, 0, 0).unwrap();
    assert_eq!(allocator.counters().alloc_retries, 1);
    assert_eq!(reserved_mib(&allocator), 94);
    // Nothing is cached now, so a second try fails for good.
    assert!(allocator.malloc(20 * MIB, 0, 0).is_err());
    assert_eq!(allocator.counters().ooms, 1);
    allocator.free(first);
    assert!(allocator.malloc(20 * MIB, 0, 0).is_ok());
}
