//! Categories that follow from those of other allocations: parameters from before the recording,
//! and what an optimizer puts in the place of what it lets go.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::replay::NEVER;

use super::category::{Category, Circumstances, Told, UNKNOWN, inferred};
use super::evidence::Evidence;
use super::phase::Phase;

impl Circumstances<'_> {
    /// What an optimizer keeps may take the place of something it lets go: `p.data = p - lr * g`
    /// makes a new tensor and drops the old. The new one is what the old one was. An old one is
    /// matched with the youngest new one of its size. Memory from before the recording that is
    /// replaced is optimizer state if all parameters of its size are known to be others.
    pub(super) fn follow_replacements(
        &self,
        told: &mut [Told],
        parameter_sizes: &HashSet<u64, FixedState>,
    ) {
        let in_optimizer = |event: u32| {
            let index = self.phases.span_index(event)?;
            let span = self.phases.spans.get(index)?;
            (span.phase == Phase::Optimizer && event < span.end).then_some(index)
        };
        // (event, is a free, row), in order; the frees are those of older memory.
        let mut changes: Vec<(u32, bool, usize)> = Vec::new();
        for id in self.replay.allocations.ids() {
            let allocation = self.replay.allocations.get(id);
            let born = allocation.alloc_event().and_then(in_optimizer);
            let event = allocation.free_requested.checked_sub(1);
            let freed = event
                .filter(|_| allocation.free_requested != NEVER)
                .and_then(in_optimizer);
            if let (Some(event), true) = (event, freed.is_some() && freed != born) {
                changes.push((event, true, id.index()));
            }
            if let (Some(event), true) = (allocation.alloc_event(), born.is_some() && freed != born)
            {
                changes.push((event, false, id.index()));
            }
        }
        changes.sort_unstable();
        let size = |row: usize| self.replay.allocations.requested().get(row).copied();
        let mut kept: HashMap<(Option<usize>, Option<u64>), Vec<usize>, FixedState> =
            HashMap::default();
        for (event, is_free, row) in changes {
            let key = (in_optimizer(event), size(row));
            if !is_free {
                let is_state = (Category::OptimizerState, Evidence::Inferred);
                if told.get(row) == Some(&is_state) {
                    kept.entry(key).or_default().push(row);
                }
                continue;
            }
            let mut old = told.get(row).copied().unwrap_or(UNKNOWN);
            if !matches!(
                old.0,
                Category::Parameter | Category::OptimizerState | Category::Unknown
            ) {
                continue;
            }
            let Some(new) = kept.get_mut(&key).and_then(Vec::pop) else {
                continue;
            };
            if old.0 == Category::Unknown && key.1.is_some_and(|s| parameter_sizes.contains(&s)) {
                old = inferred(Category::OptimizerState);
                if let Some(told) = told.get_mut(row) {
                    *told = old;
                }
            }
            if let Some(told) = told.get_mut(new) {
                *told = match old.0 {
                    Category::Unknown => UNKNOWN,
                    category => inferred(category),
                };
            }
        }
    }

    /// Calls memory from before the recording parameters where counts say so. Returns the sizes
    /// for which they did.
    pub(super) fn match_parameters(&self, told: &mut [Told]) -> HashSet<u64, FixedState> {
        let mut matched = HashSet::default();
        let Some(gradients) = self.gradient_sizes(told) else {
            return matched;
        };
        let mut unknown: HashMap<u64, Vec<usize>, FixedState> = HashMap::default();
        for id in self.replay.allocations.ids() {
            let allocation = self.replay.allocations.get(id);
            if allocation.born == 0
                && allocation.free_requested == NEVER
                && told
                    .get(id.index())
                    .is_some_and(|t| t.1 == Evidence::Unknown)
            {
                unknown
                    .entry(allocation.requested)
                    .or_default()
                    .push(id.index());
            }
        }
        for (size, count) in gradients {
            let Some(rows) = unknown.get(&size) else {
                continue;
            };
            if rows.len() == count {
                matched.insert(size);
                for &row in rows {
                    if let Some(told) = told.get_mut(row) {
                        *told = inferred(Category::Parameter);
                    }
                }
            }
        }
        matched
    }

    /// How many gradients of each size the backward with the most gradients made, by size.
    fn gradient_sizes(&self, told: &[Told]) -> Option<Vec<(u64, usize)>> {
        let mut by_span: HashMap<usize, Vec<u64>, FixedState> = HashMap::default();
        for id in self.replay.allocations.ids() {
            if told
                .get(id.index())
                .is_none_or(|t| t.0 != Category::Gradient)
            {
                continue;
            }
            let allocation = self.replay.allocations.get(id);
            if let Some(span) = allocation
                .alloc_event()
                .and_then(|event| self.phases.span_index(event))
            {
                by_span.entry(span).or_default().push(allocation.requested);
            }
        }
        let (_, mut sizes) = by_span
            .into_iter()
            .max_by_key(|(span, sizes)| (sizes.len(), std::cmp::Reverse(*span)))?;
        sizes.sort_unstable();
        let mut counted: Vec<(u64, usize)> = Vec::new();
        for size in sizes {
            match counted.last_mut() {
                Some(last) if last.0 == size => last.1 += 1,
                _ => counted.push((size, 1)),
            }
        }
        Some(counted)
    }
}
