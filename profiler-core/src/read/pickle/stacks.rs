//! Stacks already met, by their bytes in the pickle.
//!
//! CPython writes a list of frames anew for each event, but the frames in it are memo fetches: the
//! same stack is the same bytes. So the usual stack of sixty frames is one lookup instead of
//! sixty, and what it is compared with is the file itself.

use super::source::Run;
use crate::snapshot::StackId;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Stacks by the bytes of their memo fetches.
#[derive(Debug, Default)]
pub(super) struct RawStacks {
    table: HashTable<(Run32, StackId)>,
    hasher: FixedState,
}

/// A run in twelve bytes.
#[derive(Clone, Copy, Debug)]
struct Run32 {
    start_low: u32,
    start_high: u32,
    len: u32,
}

impl Run32 {
    fn new(run: Run) -> Option<Self> {
        let start = run.start as u64;
        Some(Self {
            start_low: start as u32,
            start_high: (start >> 32) as u32,
            len: u32::try_from(run.end.checked_sub(run.start)?).ok()?,
        })
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = (u64::from(self.start_high) << 32 | u64::from(self.start_low)) as usize;
        bytes
            .get(start..start.saturating_add(self.len as usize))
            .unwrap_or(&[])
    }
}

impl RawStacks {
    /// The stack that the same bytes made before.
    #[inline]
    pub(super) fn find(&self, bytes: &[u8], run: Run) -> Option<StackId> {
        let raw = bytes.get(run.start..run.end)?;
        let hash = self.hasher.hash_one(raw);
        self.table
            .find(hash, |(known, _)| known.of(bytes) == raw)
            .map(|&(_, stack)| stack)
    }

    /// Remembers a stack.
    pub(super) fn add(&mut self, bytes: &[u8], run: Run, stack: StackId) {
        let (Some(raw), Some(key)) = (bytes.get(run.start..run.end), Run32::new(run)) else {
            return;
        };
        let hasher = &self.hasher;
        self.table
            .insert_unique(hasher.hash_one(raw), (key, stack), |(known, _)| {
                hasher.hash_one(known.of(bytes))
            });
    }

    /// Forgets everything: a memo id now stands for something else.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }
}
