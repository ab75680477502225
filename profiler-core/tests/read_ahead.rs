//! Trace entries read a dict at a time, against the same files read opcode by opcode.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::both::read_both_ways;
use common::tree::Tree;
use common::{encode, shared, snapshot_files};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// The snapshots of every PyTorch version and protocol that lie beside the tests.
fn own_files() -> Vec<PathBuf> {
    snapshot_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
}

#[test]
fn own_files_are_read_alike() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    for path in own_files().into_iter().chain(snapshot_files(&samples)) {
        let bytes = std::fs::read(&path).unwrap();
        if let Err(error) = read_both_ways(&bytes) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn shared_files_are_read_alike() {
    let Some(folder) = shared() else { return };
    for part in ["public", "simulated"] {
        for path in snapshot_files(&folder.join(part)) {
            // Some are no snapshots: the errors are alike then.
            let _ = read_both_ways(&std::fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_flipped_bit_is_read_alike() {
    for name in ["protocol-2.pickle", "protocol-4.pickle", "torch-2.2.pickle"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name);
        let mut bytes = std::fs::read(path).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let _ = read_both_ways(&bytes);
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

/// What strings an entry has that is not the same for all: the order in which strings become
/// handles is that of the file, also where an entry is finished only when the next one begins.
#[test]
fn handles_are_given_in_the_same_order() {
    let entry = |items: Vec<(&str, Tree)>| {
        let mut all = vec![("action", Tree::text("alloc")), ("addr", Tree::Int(512))];
        all.extend(items);
        Tree::pairs(all)
    };
    let metadata = |number| Tree::pairs(vec![("step", Tree::Int(number))]);
    let lines = |text: &str| Tree::list(vec![Tree::text(text), Tree::text("shared line")]);
    let entries = vec![
        entry(vec![("user_metadata", metadata(1))]),
        entry(vec![("compile_context", Tree::text("N/A"))]),
        entry(vec![
            ("user_metadata", metadata(2)),
            ("unknown", Tree::text("a")),
        ]),
        entry(vec![("compile_context", Tree::text("0/0"))]),
        entry(vec![("forward_frames", lines("one"))]),
        entry(vec![("user_metadata", Tree::text("two"))]),
        entry(vec![
            ("forward_frames", lines("two")),
            ("frames", Tree::list(vec![])),
        ]),
        entry(vec![
            ("user_metadata", Tree::text("three")),
            ("pool_id", Tree::pair(0, 1)),
        ]),
        entry(vec![
            ("size", Tree::text("no number")),
            ("pool_id", Tree::pair(1, 0)),
        ]),
        entry(vec![
            ("size", Tree::Int(-1)),
            ("user_metadata", Tree::text("four")),
        ]),
        entry(vec![
            ("action", Tree::text("new action")),
            ("stream", Tree::Int(7)),
        ]),
    ];
    // Twice, so that every key is in the memo.
    let trace: Vec<Tree> = entries.iter().chain(&entries).cloned().collect();
    let snapshot = Tree::pairs(vec![
        ("segments", Tree::list(vec![])),
        ("device_traces", Tree::list(vec![Tree::list(trace)])),
    ]);
    for protocol in 0..6 {
        let bytes = encode::cpython(&snapshot, protocol);
        let read = read_both_ways(&bytes).unwrap();
        assert_eq!(read.traces[0].events.len(), 22);
    }
    read_both_ways(&encode::cpp(&snapshot)).unwrap();
}

/// Opcodes and numbers that trace entries are made of.
const BYTES: &[u8] = b"}\x94(hjKMJ\x8a\x8c]eu\x86qrN0.2sa)t\x00\x01\x02\x03\x08\xff";

/// A change of a file: at a place (in 65,536ths of its length), of so many bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(u16, u8),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
    Copy(u16, u16, u8),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u16| usize::from(at) * len / 65_536;
        match self {
            Self::Set(at, byte) => bytes[place(*at)] = *byte,
            Self::Insert(at, new) => {
                let at = place(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(*at);
                bytes.drain(at..(at + usize::from(*count)).min(len - 1).max(at));
            }
            Self::Copy(from, to, count) => {
                let from = place(*from);
                let copy = bytes[from..(from + usize::from(*count)).min(len)].to_vec();
                let to = place(*to);
                bytes.splice(to..to, copy);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || prop_oneof![4 => prop::sample::select(BYTES), 1 => any::<u8>()];
    prop_oneof![
        (any::<u16>(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<u16>(), prop::collection::vec(byte(), 1..4))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<u16>(), 1..4_u8).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<u16>(), any::<u16>(), 1..120_u8)
            .prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_read_alike(
        path in prop::sample::select(own_files()),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let mut bytes = std::fs::read(path).unwrap();
        for change in &changes {
            change.apply(&mut bytes);
        }
        let _ = read_both_ways(&bytes);
    }
}
