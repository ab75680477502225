//! The layout of a recording that began with nothing, found while it is being read.
//!
//! ```text
//!   read      alloc a │ alloc b │ free a │ …        │ segments, settings
//!   ahead             │ alloc a │ alloc b│ free a … │ do they agree? ── yes: done
//!                                                         └────────── no: find it anew
//! ```
//!
//! Nothing was live before the first event, so no block's size is in doubt, and every other is
//! told by the events up to its own. What comes after them in the file can only prove this wrong.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Source, is_segment_action, span_born_at};
use crate::allocator::{Dialect, Settings, SizeRules};
use crate::replay::block_map::BlockMap;
use crate::replay::segment_spans::{SegmentSpan, SpansAhead};
use crate::replay::{AllocationId, Allocations, Curve, Moment, NEVER};
use crate::snapshot::{Action, Events, PoolId, SegmentKind};

/// A layout under construction.
#[derive(Debug)]
pub(in crate::replay) struct LayoutAhead {
    map: BlockMap,
    spans: SpansAhead,
    /// What is taken to be the rules: PyTorch's defaults.
    rules: SizeRules,
    /// The spans that segments were added by.
    added: Vec<SegmentSpan>,
    sizes: Vec<u64>,
    kinds: Vec<SegmentKind>,
    /// Bytes of blocks that the program has not let go of.
    allocated: Curve,
    /// How many events it has seen.
    seen: usize,
    /// Whether an event did not fit: then another way must be taken, and this one ends.
    is_lost: bool,
}

impl Default for LayoutAhead {
    fn default() -> Self {
        Self {
            map: BlockMap::new(0),
            spans: SpansAhead::default(),
            rules: SizeRules::new(Dialect::Cuda, &Settings::default()),
            added: Vec::new(),
            sizes: Vec::new(),
            kinds: Vec::new(),
            allocated: Curve::starting_at(0),
            seen: 0,
            is_lost: false,
        }
    }
}

/// A layout that was found ahead: nothing of it was live before the first event.
pub(in crate::replay) struct FoundAhead {
    /// By allocation: its block's size, pool and size class.
    pub(in crate::replay) columns: (Vec<u64>, Vec<PoolId>, Vec<SegmentKind>),
    /// Bytes of blocks that the program has not let go of.
    pub(in crate::replay) allocated: Curve,
}

impl LayoutAhead {
    /// Goes on with the events from row `from` on. `recorded` has every allocation recorded up to
    /// the last of them; `of_event` says which each of them is about: None for none, and
    /// otherwise the row if that is recorded.
    pub(in crate::replay) fn see(
        &mut self,
        events: &Events,
        from: usize,
        recorded: &Allocations,
        of_event: impl Fn(usize) -> Option<Option<usize>>,
    ) {
        if self.is_lost {
            return;
        }
        self.map.expect_more(events.len().saturating_sub(from));
        for row in from..events.len() {
            let allocation = of_event(row - from);
            if self.step(events, row, recorded, allocation).is_none() {
                // The memory is needed elsewhere.
                *self = Self {
                    is_lost: true,
                    ..Self::default()
                };
                return;
            }
            self.seen += 1;
        }
    }

    /// Applies the event at `row`; None if it does not fit.
    fn step(
        &mut self,
        events: &Events,
        row: usize,
        recorded: &Allocations,
        allocation: Option<Option<usize>>,
    ) -> Option<()> {
        let moment = self.seen as Moment + 1;
        let action = events.action(row);
        if is_segment_action(action) {
            return self.change_segment(moment, events, row);
        }
        let Some(allocation) = allocation else {
            return Some(());
        };
        // One from before recording shows that it did not begin with nothing.
        let allocation = allocation?;
        let (id, address) = (AllocationId(allocation as u32), events.address(row));
        let bytes = self.allocated.last();
        let bytes = match action {
            Action::Alloc => {
                let rounded = self.rules.round_size(events.size(row));
                let rules = &self.rules;
                let splits = |kind, free, rounded| rules.should_split(kind, free, rounded);
                let (size, (kind, _)) = self.map.alloc(id, address, rounded, splits).ok()?;
                self.sizes.push(size);
                self.kinds.push(kind);
                bytes.saturating_add(size)
            }
            Action::FreeRequested => bytes.saturating_sub(*self.sizes.get(allocation)?),
            Action::FreeCompleted => {
                self.map.free(id, address);
                // Every free is requested first; where that was not recorded, completion is all
                // there is.
                if recorded.free_requested().get(allocation) != Some(&moment) {
                    return Some(());
                }
                bytes.saturating_sub(*self.sizes.get(allocation)?)
            }
            _ => return Some(()),
        };
        self.allocated.set(moment, bytes);
        Some(())
    }

    fn change_segment(&mut self, moment: Moment, events: &Events, row: usize) -> Option<()> {
        let event = events.get(row);
        let born = self.spans.see(moment, &event);
        if !self.spans.is_consistent() {
            return None;
        }
        let (address, size) = (event.address, event.size);
        let fits = match event.action {
            Action::SegmentFree => self.map.remove_segment(address),
            Action::SegmentUnmap => self.map.unmap(address, size),
            action => {
                let span = born?;
                if self.added.is_empty() && action == Action::SegmentMap {
                    let settings = Settings {
                        expandable_segments: true,
                        ..Settings::default()
                    };
                    self.rules = SizeRules::new(Dialect::Cuda, &settings);
                }
                self.added.push(span);
                let added = SegmentSpan {
                    address,
                    size,
                    ..span
                };
                if action == Action::SegmentMap {
                    self.map.map(&added)
                } else {
                    self.map.add_segment(&added)
                }
            }
        };
        (fits && !self.map.is_exhausted()).then_some(())
    }

    /// The blocks of `allocations`, if all that the file says agrees with what was found;
    /// `final_sizes` has the sizes of the blocks that are active at the end, by address.
    pub(in crate::replay) fn finish(
        mut self,
        source: Source<'_>,
        allocations: &Allocations,
        final_sizes: &HashMap<u64, u64, FixedState>,
    ) -> Option<FoundAhead> {
        let Source {
            events,
            spans,
            rules,
        } = source;
        let is_whole = !self.is_lost
            && self.seen == events.len()
            && self.sizes.len() == allocations.len()
            && allocations.are_all_recorded()
            && self.rules == *rules
            && spans.first().is_none_or(|span| span.born > 0);
        let is_known = |added: &SegmentSpan| {
            span_born_at(spans, added.born).is_some_and(|span| {
                (span.kind, span.pool, span.is_expandable)
                    == (added.kind, added.pool, added.is_expandable)
            })
        };
        if !is_whole || !self.added.iter().all(is_known) {
            return None;
        }
        let (died, addresses) = (allocations.died(), allocations.addresses());
        for (row, size) in self.sizes.iter().enumerate() {
            if died.get(row) != Some(&NEVER) {
                continue;
            }
            let at_the_end = addresses.get(row).and_then(|at| final_sizes.get(at));
            if at_the_end.is_some_and(|known| known != size) {
                return None;
            }
        }
        let pools = if events.has_pools() {
            let of_row = |&born: &Moment| events.pool((born as usize).saturating_sub(1));
            allocations.born().iter().map(of_row).collect()
        } else {
            vec![PoolId::DEFAULT; self.sizes.len()]
        };
        self.sizes.shrink_to_fit();
        self.kinds.shrink_to_fit();
        self.allocated.shrink_to_fit();
        Some(FoundAhead {
            columns: (self.sizes, pools, self.kinds),
            allocated: self.allocated,
        })
    }
}
