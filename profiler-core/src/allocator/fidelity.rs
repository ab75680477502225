//! How far the model agrees with a recording.

use std::collections::BTreeMap;

use super::block::Use;
use super::driver::Driver;
use super::model::Allocator;
use super::version::Rules;
use crate::snapshot::{BlockState, DeviceId, Snapshot};

/// How far the model agrees with a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    /// The device.
    pub device: DeviceId,
    /// The rules that explain the recording best.
    pub rules: Rules,
    /// Allocations in the trace.
    pub allocations: u64,
    /// Those that the model put on the recorded segment and offset.
    pub placed: u64,
    /// Segments and pages taken and given back in the trace.
    pub segment_events: u64,
    /// Those that the model did at the same step, at the same address and with the same size.
    pub segment_events_matched: u64,
    /// Most bytes held at once: by the recording, and by the model.
    pub peak_reserved_recorded: u64,
    /// The model's.
    pub peak_reserved_replayed: u64,
    /// Blocks live when recording began whose size the file does not say.
    pub guessed_blocks: u64,
    /// Those whose first guess the recording contradicted and corrected.
    pub corrected_blocks: u64,
    /// Blocks of the final state (live and free) that the model has too, with address, size and
    /// state.
    pub final_blocks_matched: u64,
    /// Blocks of the final state.
    pub final_blocks: u64,
    /// `snapshot` events whose active bytes the model has too, and all of them.
    pub snapshots_matched: u64,
    /// All `snapshot` events.
    pub snapshots: u64,
    /// Disagreements after which the model was put back into the recorded state.
    pub restarts: u64,
    /// The first disagreement.
    pub first_disagreement: Option<Disagreement>,
}

impl Fidelity {
    /// Share of allocations and segment events that agree; 1 for a trace without any.
    #[must_use]
    pub fn share(&self) -> f64 {
        let all = self.allocations + self.segment_events;
        if all == 0 {
            return 1.0;
        }
        (self.placed + self.segment_events_matched) as f64 / all as f64
    }

    /// Whether everything that can be compared agrees.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.first_disagreement.is_none()
            && self.placed == self.allocations
            && self.segment_events_matched == self.segment_events
    }
}

/// Where the model first does something else than the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The row in the trace.
    pub event: u32,
    /// What the model did and what the recording says, in words.
    pub explanation: String,
}

impl Fidelity {
    /// Compares the final state block by block.
    pub(super) fn count_final_blocks<D: Driver>(
        &mut self,
        snapshot: &Snapshot,
        allocator: &Allocator<D>,
    ) {
        let mut replayed = BTreeMap::new();
        for (_, block) in allocator.blocks.iter() {
            if block.state != Use::Unmapped {
                replayed.insert(block.address, (block.size, block.state));
            }
        }
        for segment in snapshot.segments.of_device(self.device) {
            for block in snapshot.segments.blocks(segment) {
                self.final_blocks += 1;
                let state = match block.state {
                    BlockState::Allocated => Use::Allocated,
                    BlockState::PendingFree => Use::Pending,
                    BlockState::Inactive => Use::Free,
                };
                let same = replayed.get(&block.address) == Some(&(block.size, state));
                self.final_blocks_matched += u64::from(same);
            }
        }
    }
}
