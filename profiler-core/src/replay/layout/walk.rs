//! Walking over a layout, change by change.

use super::{apply_segment_event, is_segment_action, start_segments};
use crate::replay::block_map::{BlockMap, Misplaced};
use crate::replay::segment_spans::SegmentSpan;
use crate::replay::{AllocationId, Allocations, Moment, Origin};
use crate::snapshot::{Action, Events};

/// A step of a walk over the layout ([`walk`]): one change to the blocks.
pub(crate) struct Step<'a> {
    /// The moment reached.
    pub(crate) moment: Moment,
    /// All blocks at that moment.
    pub(crate) map: &'a BlockMap,
    /// What changed.
    pub(crate) change: Change,
    /// Whether this is the last change of this moment.
    pub(crate) is_complete: bool,
}

/// A change to the blocks. Only blocks that have a place in a segment are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A block was handed out, or was there from the start.
    Born(AllocationId),
    /// The program let go of a block, which stays active for another stream.
    FreeRequested(AllocationId),
    /// A block went back.
    Died {
        /// Which.
        id: AllocationId,
        /// Whether [`Change::FreeRequested`] came before.
        was_pending: bool,
    },
    /// A segment came, went or changed; or nothing did, at the start and the end of a walk.
    Segments,
}

/// Walks the layout found before, event by event. Every moment at which something changed is
/// completed once, the first and the last always.
pub(crate) fn walk(
    events: &Events,
    spans: &[SegmentSpan],
    allocations: &Allocations,
    visit: impl FnMut(Step<'_>),
) {
    let mut map = BlockMap::new(events.len());
    start_segments(&mut map, spans);
    let mut walker = Walker {
        map,
        allocations,
        placed: vec![false; allocations.len()],
        pending: vec![false; allocations.len()],
        visit,
    };
    walker.start();
    for row in 0..events.len() {
        let moment = row as Moment + 1;
        match (events.action(row), allocations.of_event(row)) {
            (Action::Alloc, Some(id)) => walker.born(moment, id),
            (Action::FreeRequested, Some(id)) => walker.free_requested(moment, id),
            (Action::FreeCompleted, Some(id)) => walker.died(moment, id, true),
            (action, _) if is_segment_action(action) => {
                apply_segment_event(&mut walker.map, events, spans, row);
                walker.report(moment, Change::Segments, true);
            }
            _ => {}
        }
    }
    walker.finish(events.len() as Moment);
}

struct Walker<'a, V> {
    map: BlockMap,
    allocations: &'a Allocations,
    /// By row, whether the block is in the map now.
    placed: Vec<bool>,
    /// By row, whether [`Change::FreeRequested`] was reported. Times do not tell: a free may be
    /// requested and, the trace ending there, completed at one moment.
    pending: Vec<bool>,
    visit: V,
}

impl<V: FnMut(Step<'_>)> Walker<'_, V> {
    fn report(&mut self, moment: Moment, change: Change, is_complete: bool) {
        (self.visit)(Step {
            moment,
            map: &self.map,
            change,
            is_complete,
        });
    }

    fn start(&mut self) {
        let before = self.allocations.born_by(0);
        let blocks = self.allocations.ids().take(before).map(|id| {
            let block = self.allocations.get(id);
            (id, block.address, block.block_size)
        });
        let left_out = self.map.fill(blocks);
        self.placed[..before].fill(true);
        for id in left_out {
            self.placed[id.index()] = false;
        }
        for id in self.allocations.ids().take(before) {
            if self.placed[id.index()] {
                self.report(0, Change::Born(id), false);
                if self.allocations.get(id).free_requested == 0 {
                    self.pending[id.index()] = true;
                    self.report(0, Change::FreeRequested(id), false);
                }
            }
        }
        self.report(0, Change::Segments, true);
    }

    fn born(&mut self, moment: Moment, id: AllocationId) {
        let block = self.allocations.get(id);
        let mut placed = self.map.place(id, block.address, block.block_size);
        if let Err(Misplaced::Inside(earlier)) = placed
            && self.allocations.get(earlier).died == moment
        {
            // The trace has no free for it; its address was handed out again.
            self.died(moment, earlier, false);
            placed = self.map.place(id, block.address, block.block_size);
        }
        if placed.is_ok() {
            self.placed[id.index()] = true;
            self.report(moment, Change::Born(id), true);
        }
    }

    fn free_requested(&mut self, moment: Moment, id: AllocationId) {
        let block = self.allocations.get(id);
        if self.placed[id.index()] && block.free_requested == moment {
            self.pending[id.index()] = true;
            self.report(moment, Change::FreeRequested(id), true);
        }
    }

    fn died(&mut self, moment: Moment, id: AllocationId, is_complete: bool) {
        let block = self.allocations.get(id);
        if !self.placed[id.index()] || !self.map.free(id, block.address) {
            return;
        }
        self.placed[id.index()] = false;
        let was_pending = self.pending[id.index()];
        self.report(moment, Change::Died { id, was_pending }, is_complete);
    }

    /// Brings the walk to the state the segments show, where the trace ended before it.
    fn finish(&mut self, last: Moment) {
        for id in self.allocations.ids() {
            if self.placed[id.index()] && self.allocations.get(id).died <= last {
                self.died(last, id, false);
            }
        }
        for id in self.allocations.ids().rev() {
            let block = self.allocations.get(id);
            if block.origin != Origin::AfterRecording {
                break;
            }
            if self.map.place(id, block.address, block.block_size).is_ok() {
                self.report(last, Change::Born(id), false);
            }
        }
        self.report(last, Change::Segments, true);
    }
}
