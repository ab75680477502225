//! Layers of backward allocations from the forward's traceback (`forward_frames`).
//!
//! In anomaly mode PyTorch keeps, for each node of the autograd graph, the Python traceback of the
//! forward operation that made it, and writes it beside what the node's backward allocates. The
//! traceback has the same frames as the stacks recorded in that forward, so it leads to the same
//! module call. Which of several calls of one place (six blocks from one line) it was, it does not
//! say: then what the node releases decides, see [`super::module_calls`], and if that does not,
//! the allocation belongs to the module around all of them.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher as _;

use crate::replay::DeviceReplay;
use crate::snapshot::{Snapshot, StackId, StringId, Trace};

use super::frame_class::is_python_file;
use super::layer::{LayerId, Layers};
use super::module_calls::AllocationCalls;
use super::stack_facts::{CallId, StackFactsTable};
use super::traceback;

/// The module calls that Python frames lead to, by hash of the frames from the outermost on.
struct Places {
    calls: HashMap<u64, CallId, FixedState>,
    hasher: FixedState,
}

impl Places {
    fn new(snapshot: &Snapshot, facts: &StackFactsTable) -> Self {
        let hasher = FixedState::default();
        let frames: Vec<Option<u64>> = snapshot
            .frames
            .iter()
            .map(|(_, frame)| {
                let file = snapshot.strings.get(frame.filename);
                let name = snapshot.strings.get(frame.name);
                is_python_file(&file.replace('\\', "/"))
                    .then(|| hasher.hash_one((file, frame.line, name)))
            })
            .collect();
        let mut ways = vec![0_u64];
        let mut calls = HashMap::default();
        let rows = u32::try_from(snapshot.stacks.len()).unwrap_or(u32::MAX);
        for row in 1..rows {
            let Some(node) = snapshot.stacks.node(StackId(row)) else {
                break;
            };
            let mut way = ways.get(node.caller.index()).copied().unwrap_or(0);
            if let Some(Some(frame)) = frames.get(node.frame.index()) {
                way = hasher.hash_one((way, *frame));
                calls.entry(way).or_insert(facts.get(StackId(row)).call);
            }
            ways.push(way);
        }
        Self { calls, hasher }
    }

    /// The call that the traceback `text` was in, as far as recorded stacks follow it.
    fn call(&self, text: &str) -> CallId {
        let mut way = 0_u64;
        let mut found = CallId(0);
        for line in traceback::parse(text) {
            let frame = self.hasher.hash_one((line.file, line.line, line.function));
            way = self.hasher.hash_one((way, frame));
            match self.calls.get(&way) {
                Some(&call) => found = call,
                None => break,
            }
        }
        found
    }
}

/// Gives allocations of the backward the layers that their `forward_frames` tell.
pub(crate) fn layers_of_forward_frames(
    snapshot: &Snapshot,
    trace: &Trace,
    replay: &DeviceReplay,
    facts: &StackFactsTable,
    layers: &Layers,
    calls: &mut AllocationCalls,
) {
    if !trace.events.has_forward_frames() {
        return;
    }
    let places = Places::new(snapshot, facts);
    let mut by_call: HashMap<CallId, Vec<LayerId>, FixedState> = HashMap::default();
    for (layer, _, call) in layers.inferred_calls() {
        by_call.entry(call).or_default().push(layer);
    }
    let mut read: HashMap<StringId, CallId, FixedState> = HashMap::default();
    let mut choices: HashMap<(CallId, LayerId), LayerId, FixedState> = HashMap::default();
    for id in replay.allocations.ids() {
        let Some(event) = replay.allocations.get(id).alloc_event() else {
            continue;
        };
        let text = trace.events.forward_frames(event as usize);
        // A forward recomputed in the backward is told by its own stack.
        let own = facts.get(trace.events.stack(event as usize)).call;
        if text == StringId::EMPTY || own != CallId(0) {
            continue;
        }
        let call = *read
            .entry(text)
            .or_insert_with(|| places.call(snapshot.strings.get(text)));
        let (Some(candidates), Some(layer)) = (by_call.get(&call), calls.layer.get_mut(id.index()))
        else {
            continue;
        };
        let chosen = *choices
            .entry((call, *layer))
            .or_insert_with(|| choose(layers, candidates, *layer));
        if chosen != LayerId::UNKNOWN {
            *layer = chosen;
        }
    }
}

/// The one of `candidates` that agrees with `released`, the layer told by what was released; what
/// is around all of those that do; around all of `candidates` if none does.
fn choose(layers: &Layers, candidates: &[LayerId], released: LayerId) -> LayerId {
    let agree: Vec<LayerId> = candidates
        .iter()
        .copied()
        .filter(|&layer| layers.contains(released, layer) || layers.contains(layer, released))
        .collect();
    layers.around_all(if agree.is_empty() { candidates } else { &agree })
}
