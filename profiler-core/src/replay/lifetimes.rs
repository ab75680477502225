//! From events to allocations: who was born when, and who died when.
//!
//! One walk forward over the events pairs each `alloc` with the frees of its address. What is
//! freed without an `alloc` was live before recording began; what the final segments hold and the
//! trace never touched was live throughout. The two sources can disagree: PyTorch copies the
//! trace first and walks the segments afterwards, under two locks
//! (`DeviceCachingAllocator::snapshot`), and a ring buffer forgets. Each disagreement is settled
//! one way and counted.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{Action, DeviceId, Events, Snapshot, StackId};

use super::allocations::Row;
use super::layout::LayoutAhead;
use super::{Allocations, NEVER};

/// How the trace and the final segments disagreed, in allocations and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disagreements {
    /// `alloc` events at an address that was still live: the earlier one is taken to have died
    /// there.
    pub overlapping_allocs: u64,
    /// Recorded, never freed in the trace, and not in the segments: taken to have died after the
    /// last event.
    pub missing_blocks: u64,
    /// Requested bytes of those.
    pub missing_bytes: u64,
    /// In the segments, but freed in the trace: taken to be newer than the trace.
    pub newer_blocks: u64,
    /// Requested bytes of those.
    pub newer_bytes: u64,
    /// Live at the end in both, but with another requested size.
    pub resized_blocks: u64,
    /// Frees whose size is not that of the allocation they free.
    pub resized_frees: u64,
}

impl Disagreements {
    /// Whether trace and segments agree in everything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The current user of an address, and how many it has had.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    /// Where its row is; `VACANT` if nobody is there.
    row: RowRef,
    uses: u32,
}

/// A row of one of the two lists under construction.
///
/// Packed into 32 bits, since there is one for every event: even numbers count the allocations
/// from before recording, odd ones the recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowRef(u32);

impl RowRef {
    const VACANT: Self = Self(u32::MAX);

    fn before(row: usize) -> Self {
        u32::try_from(row * 2).map_or(Self::VACANT, Self)
    }

    fn recorded(row: usize) -> Self {
        u32::try_from(row * 2 + 1).map_or(Self::VACANT, Self)
    }

    /// The row, and whether it is of the recorded list.
    fn row(self) -> Option<(usize, bool)> {
        (self != Self::VACANT).then_some(((self.0 / 2) as usize, self.0 % 2 == 1))
    }
}

/// Finds every allocation of `device` in `events` and the final segments. `walk` has seen the
/// first of the events, or none. What it knows of their blocks comes with it.
pub(super) fn find(
    snapshot: &Snapshot,
    device: DeviceId,
    events: &Events,
    mut walk: Walk,
) -> (Allocations, Disagreements, Option<LayoutAhead>) {
    let seen = walk.of_event.len();
    walk.of_event
        .reserve_exact(events.len().saturating_sub(seen));
    walk.see(events, seen);
    if events.actions().contains(&Action::FreeRequested)
        || walk.recorded.died().iter().all(|&died| died == NEVER)
    {
        walk.make_early_requests_pending();
    }
    let layout = walk.layout.take();
    let (allocations, disagreements) =
        walk.settle_with_segments(snapshot, device, events.len() as u32);
    (allocations, disagreements, layout)
}

/// The walk over the events.
#[derive(Debug, Default)]
pub(super) struct Walk {
    before: Vec<Row>,
    recorded: Allocations,
    tenants: HashMap<u64, Tenant, FixedState>,
    /// By event row, the allocation it is about.
    of_event: Vec<RowRef>,
    disagreements: Disagreements,
    /// The blocks, where they are found along the way.
    layout: Option<LayoutAhead>,
}

impl Walk {
    /// A walk that finds blocks along the way, as far as they can be told there.
    pub(super) fn with_layout() -> Self {
        Self {
            layout: Some(LayoutAhead::default()),
            ..Self::default()
        }
    }

    /// Goes on over the events from row `from` on: those after the last it has seen, wherever
    /// they are now.
    pub(super) fn see(&mut self, events: &Events, from: usize) {
        let seen = self.of_event.len();
        for row in from..events.len() {
            let of_event = match events.action(row) {
                Action::Alloc => self.alloc(events, row),
                Action::FreeRequested => self.free_requested(events, row),
                Action::FreeCompleted => self.free_completed(events, row),
                _ => RowRef::VACANT,
            };
            self.of_event.push(of_event);
        }
        if let Some(layout) = &mut self.layout {
            let of_event = self.of_event.get(seen..).unwrap_or(&[]);
            layout.see(events, from, &self.recorded, |at| {
                let (row, is_recorded) = of_event.get(at)?.row()?;
                Some(is_recorded.then_some(row))
            });
        }
    }

    /// The moment after the event being looked at.
    #[inline]
    fn moment(&self) -> u32 {
        self.of_event.len() as u32 + 1
    }

    fn alloc(&mut self, events: &Events, row: usize) -> RowRef {
        let moment = self.moment();
        let address = events.address(row);
        let next = RowRef::recorded(self.recorded.len());
        let tenant = self.tenants.entry(address).or_insert(Tenant {
            row: RowRef::VACANT,
            uses: 0,
        });
        let earlier = std::mem::replace(&mut tenant.row, next);
        let use_index = tenant.uses;
        tenant.uses = tenant.uses.saturating_add(1);
        if earlier != RowRef::VACANT {
            self.disagreements.overlapping_allocs += 1;
            self.end(earlier, moment);
        }
        self.recorded.push(&Row {
            address,
            requested: events.size(row),
            born: moment,
            free_requested: NEVER,
            died: NEVER,
            stream: events.stream(row),
            stack: events.stack(row),
            use_index,
        });
        next
    }

    fn free_requested(&mut self, events: &Events, row: usize) -> RowRef {
        let live = self.tenant_or_earlier(events, row);
        let moment = self.moment();
        match live.row() {
            Some((row, true)) => self.recorded.request_free(row, moment),
            Some((row, false)) => {
                if let Some(known) = self.before.get_mut(row) {
                    known.free_requested = known.free_requested.min(moment);
                }
            }
            None => {}
        }
        live
    }

    fn free_completed(&mut self, events: &Events, row: usize) -> RowRef {
        let address = events.address(row);
        let live = self.tenant_or_earlier(events, row);
        self.end(live, self.moment());
        if let Some(tenant) = self.tenants.get_mut(&address) {
            tenant.row = RowRef::VACANT;
        }
        live
    }

    /// The live allocation at the address of the free at `row`; one from before recording if the
    /// trace has none.
    fn tenant_or_earlier(&mut self, events: &Events, row: usize) -> RowRef {
        let address = events.address(row);
        let tenant = self.tenants.entry(address).or_insert(Tenant {
            row: RowRef::VACANT,
            uses: 0,
        });
        if tenant.row == RowRef::VACANT {
            tenant.row = RowRef::before(self.before.len());
            self.before.push(Row {
                address,
                requested: events.size(row),
                born: 0,
                free_requested: NEVER,
                died: NEVER,
                stream: events.stream(row),
                stack: StackId::EMPTY,
                use_index: tenant.uses,
            });
            tenant.uses = tenant.uses.saturating_add(1);
            return tenant.row;
        }
        let found = tenant.row;
        if self.requested(found) != Some(events.size(row)) {
            self.disagreements.resized_frees += 1;
        }
        found
    }

    /// The requested bytes of `row`, if there is such a row.
    #[inline]
    fn requested(&self, row: RowRef) -> Option<u64> {
        match row.row()? {
            (row, false) => self.before.get(row).map(|row| row.requested),
            (row, true) => self.recorded.requested().get(row).copied(),
        }
    }

    /// What was completed without a request had it made before recording began, and was pending
    /// all along. Not so with producers that write no `free_requested` at all.
    fn make_early_requests_pending(&mut self) {
        for row in &mut self.before {
            if row.free_requested == row.died && row.died != NEVER {
                row.free_requested = 0;
            }
        }
    }

    fn end(&mut self, row: RowRef, moment: u32) {
        match row.row() {
            Some((row, true)) => self.recorded.end(row, moment),
            Some((row, false)) => {
                if let Some(row) = self.before.get_mut(row) {
                    row.free_requested = row.free_requested.min(moment);
                    row.died = moment;
                }
            }
            None => {}
        }
    }

    /// Gives `row` the stack `stack` if it has none.
    fn set_missing_stack(&mut self, row: RowRef, stack: StackId) {
        match row.row() {
            Some((row, true)) => self.recorded.set_missing_stack(row, stack),
            Some((row, false)) => {
                let known = self.before.get_mut(row);
                if let Some(row) = known.filter(|row| row.stack.is_empty()) {
                    row.stack = stack;
                }
            }
            None => {}
        }
    }

    /// Compares what is live after the last event with the final segments.
    fn settle_with_segments(
        mut self,
        snapshot: &Snapshot,
        device: DeviceId,
        last: u32,
    ) -> (Allocations, Disagreements) {
        let mut after = Vec::new();
        let mut confirmed: HashMap<u64, (), FixedState> = HashMap::default();
        for segment in snapshot.segments.of_device(device) {
            for block in snapshot.segments.blocks(segment) {
                if !block.state.is_active() {
                    continue;
                }
                confirmed.insert(block.address, ());
                let pending = block.state == crate::snapshot::BlockState::PendingFree;
                let tenant = self.tenants.get(&block.address).copied();
                let live = tenant.map_or(RowRef::VACANT, |tenant| tenant.row);
                if let Some(requested) = self.requested(live) {
                    if requested != block.requested_size {
                        self.disagreements.resized_blocks += 1;
                    } else {
                        self.set_missing_stack(live, block.stack);
                    }
                    continue;
                }
                let touched = tenant.is_some();
                let row = Row {
                    address: block.address,
                    requested: block.requested_size,
                    born: if touched { last } else { 0 },
                    free_requested: if pending && !touched { 0 } else { NEVER },
                    died: NEVER,
                    stream: segment.stream,
                    stack: block.stack,
                    use_index: tenant.map_or(0, |tenant| tenant.uses),
                };
                if touched {
                    self.disagreements.newer_blocks += 1;
                    let bytes = &mut self.disagreements.newer_bytes;
                    *bytes = bytes.saturating_add(row.requested);
                    after.push(row);
                } else {
                    self.before.push(row);
                }
            }
        }
        let mut missing = |requested: u64| {
            self.disagreements.missing_blocks += 1;
            let bytes = &mut self.disagreements.missing_bytes;
            *bytes = bytes.saturating_add(requested);
        };
        for row in &mut self.before {
            if row.died == NEVER && !confirmed.contains_key(&row.address) {
                missing(row.requested);
                row.died = last.max(row.born);
            }
        }
        for row in 0..self.recorded.len() {
            if self.recorded.died()[row] == NEVER
                && !confirmed.contains_key(&self.recorded.addresses()[row])
            {
                missing(self.recorded.requested()[row]);
                let born = self.recorded.born()[row];
                self.recorded.die(row, last.max(born));
            }
        }
        let mut order: Vec<u32> = (0..self.before.len() as u32).collect();
        order.sort_by_key(|&row| self.before[row as usize].address);
        let mut rank = vec![0_u32; order.len()];
        for (at, &row) in order.iter().enumerate() {
            rank[row as usize] = at as u32;
        }
        let before: Vec<Row> = order.iter().map(|&row| self.before[row as usize]).collect();
        let recorded_from = before.len() as u32;
        let of_event = self.of_event.into_iter();
        let of_event = of_event.map(|of_event| match of_event.row() {
            None => NEVER,
            Some((row, false)) => rank.get(row).copied().unwrap_or(NEVER),
            Some((row, true)) => recorded_from.saturating_add(row as u32),
        });
        // The same memory: neither is larger than the other.
        let of_event = of_event.collect();
        self.recorded.complete(&before, &after, of_event);
        (self.recorded, self.disagreements)
    }
}
