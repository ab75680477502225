//! What every thread runs at a time.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde_json::{Map, Value};

use crate::snapshot::{Snapshot, StringId};

use super::Spans;

/// Threads that run different things at a time, at most; with more, nothing is known.
const MAX_AT_A_TIME: usize = 16;

/// A span's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) time_us: i64,
    pub(super) thread: i64,
    /// Position among the labels; negative for nothing known.
    pub(super) label: i64,
}

impl Spans {
    /// The spans in order of time; equal times keep the order of writing.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Start> {
        let mut starts: Vec<Start> = (self.time_us.iter().zip(&self.label).enumerate())
            .map(|(at, (&time_us, &label))| Start {
                time_us,
                thread: self.thread.get(at).copied().unwrap_or(0),
                label,
            })
            .collect();
        starts.sort_by_key(|start| start.time_us);
        starts.into_iter()
    }
}

/// What each thread runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    threads: HashMap<i64, i64, FixedState>,
    /// How many threads run each label.
    labels: BTreeMap<i64, u32>,
    common: HashMap<Vec<i64>, Option<StringId>, FixedState>,
}

impl Running {
    /// `thread` runs `label` from now on.
    pub(super) fn start(&mut self, thread: i64, label: i64) {
        let before = if label < 0 {
            self.threads.remove(&thread)
        } else {
            self.threads.insert(thread, label)
        };
        if let Some(before) = before
            && let Some(count) = self.labels.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.labels.remove(&before);
            }
        }
        if label >= 0 {
            *self.labels.entry(label).or_default() += 1;
        }
    }

    /// What the labels of all threads have in common; None for nothing.
    pub(super) fn label(
        &mut self,
        snapshot: &mut Snapshot,
        labels: &[StringId],
    ) -> Option<StringId> {
        let text = |label: i64| labels.get(usize::try_from(label).ok()?).copied();
        if self.labels.len() > MAX_AT_A_TIME {
            return None;
        }
        if self.labels.len() == 1 {
            return text(*self.labels.keys().next()?);
        }
        let all: Vec<i64> = self.labels.keys().copied().collect();
        if let Some(&known) = self.common.get(&all) {
            return known;
        }
        let texts: Option<Vec<StringId>> = all.iter().map(|&label| text(label)).collect();
        let found = texts.and_then(|texts| common(snapshot, &texts));
        self.common.insert(all, found);
        found
    }
}

/// The label of the fields on which all of `texts` agree.
fn common(snapshot: &mut Snapshot, texts: &[StringId]) -> Option<StringId> {
    let (&first, rest) = texts.split_first()?;
    let mut out = fields(snapshot, first)?;
    for &text in rest {
        let other = fields(snapshot, text)?;
        out.retain(|name, value| other.get(name) == Some(value));
    }
    if out.is_empty() {
        return None;
    }
    let text = serde_json::to_string(&out).ok()?;
    Some(snapshot.strings.intern(&text))
}

fn fields(snapshot: &Snapshot, text: StringId) -> Option<Map<String, Value>> {
    serde_json::from_str(snapshot.strings.get(text)).ok()
}
