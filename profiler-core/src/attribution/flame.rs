//! Allocations as a tree: by cleaned stack (a flame graph) or by layer.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BTreeMap;

use crate::replay::{AllocationId, DeviceReplay};
use crate::snapshot::Snapshot;

use super::Attribution;
use super::breakdown::Sums;
use super::clean_stack::CleanStackId;
use super::device::DeviceAttribution;
use super::frame_class::FrameOrigin;
use super::frame_label::frame_label;
use super::layer::LayerId;
use super::natural_order::natural_order;

/// One node of a [`FlameGraph`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameNode {
    /// The frame or the layer's name. Text from the file: a stranger's.
    pub label: String,
    /// The number of its [`CleanStackId`] or [`LayerId`]; the root's is 0.
    pub number: u32,
    /// Whose code the frame is; none for layers and the root.
    pub origin: Option<FrameOrigin>,
    /// The node around it; the root's is itself.
    pub parent: u32,
    /// 0 for the root.
    pub depth: u32,
    /// Sums of everything below it and its own.
    pub total: Sums,
    /// Sums of the allocations that belong to the node itself.
    pub own: Sums,
}

/// A tree of nodes, the root first, every node before its children, and children by requested
/// bytes, most first, then by label. Flat, so that no depth can exhaust the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlameGraph {
    /// The nodes.
    pub nodes: Vec<FlameNode>,
}

/// A node being summed, by the number of its stack or layer. A parent's number is always below.
struct Summing {
    parent: u32,
    own: Sums,
    total: Sums,
}

impl Attribution {
    /// The flame graph of `allocations`: callers outside, callees inside. What has no stack
    /// belongs to the root itself.
    #[must_use]
    pub fn flame_by_stack(
        &self,
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        allocations: &[AllocationId],
    ) -> FlameGraph {
        let sums = sum(
            replay,
            allocations,
            |id| self.clean.of(replay.allocations.get(id).stack).0,
            |stack| {
                self.clean
                    .split(CleanStackId(stack))
                    .map_or(0, |(_, caller)| caller.0)
            },
        );
        arrange(sums, |stack| {
            let frame = self
                .clean
                .split(CleanStackId(stack))
                .map(|(frame, _)| frame);
            (
                frame.map_or_else(String::new, |frame| frame_label(snapshot, frame)),
                frame.map(|frame| self.clean.origin_of(frame)),
            )
        })
    }

    /// The tree of layers of `allocations`. What has no layer belongs to the root itself.
    #[must_use]
    pub fn flame_by_layer(
        &self,
        replay: &DeviceReplay,
        allocations: &[AllocationId],
    ) -> FlameGraph {
        let empty = DeviceAttribution::default();
        let device = self.device(replay.device).unwrap_or(&empty);
        let sums = sum(
            replay,
            allocations,
            |id| device.layer(id).0.0,
            |layer| self.layers.parent(LayerId(layer)).0,
        );
        arrange(sums, |layer| {
            (self.layers.name(LayerId(layer)).to_owned(), None)
        })
    }
}

/// Sums by node and everything below it, by number.
fn sum(
    replay: &DeviceReplay,
    allocations: &[AllocationId],
    number_of: impl Fn(AllocationId) -> u32,
    parent_of: impl Fn(u32) -> u32,
) -> BTreeMap<u32, Summing> {
    let mut own: HashMap<u32, Sums, FixedState> = HashMap::default();
    for &id in allocations {
        let sums = own.entry(number_of(id)).or_default();
        sums.add(&replay.allocations.get(id));
    }
    let mut nodes: BTreeMap<u32, Summing> = BTreeMap::new();
    let mut numbers: Vec<(u32, Sums)> = own.into_iter().collect();
    numbers.push((0, Sums::default()));
    numbers.sort_unstable_by_key(|(number, _)| *number);
    for (number, sums) in numbers {
        let mut at = number;
        while !nodes.contains_key(&at) {
            let parent = parent_of(at);
            nodes.insert(
                at,
                Summing {
                    parent,
                    own: Sums::default(),
                    total: Sums::default(),
                },
            );
            at = parent;
        }
        if let Some(node) = nodes.get_mut(&number) {
            node.own.add_sums(sums);
        }
    }
    let numbers: Vec<u32> = nodes.keys().rev().copied().collect();
    for number in numbers {
        let Some(node) = nodes.get_mut(&number) else {
            continue;
        };
        node.total.add_sums(node.own);
        let (parent, total) = (node.parent, node.total);
        if parent != number
            && let Some(around) = nodes.get_mut(&parent)
        {
            around.total.add_sums(total);
        }
    }
    nodes
}

/// Puts summed nodes in order and names them.
fn arrange(
    nodes: BTreeMap<u32, Summing>,
    name: impl Fn(u32) -> (String, Option<FrameOrigin>),
) -> FlameGraph {
    let mut children: BTreeMap<u32, Vec<(u32, String, Option<FrameOrigin>)>> = BTreeMap::new();
    for (&number, node) in &nodes {
        if number != 0 {
            let (label, origin) = name(number);
            children
                .entry(node.parent)
                .or_default()
                .push((number, label, origin));
        }
    }
    let bytes = |number: u32| nodes.get(&number).map_or(0, |node| node.total.requested);
    for list in children.values_mut() {
        list.sort_unstable_by(|a, b| {
            // Least first: they are taken from the end.
            (bytes(a.0).cmp(&bytes(b.0)))
                .then_with(|| natural_order(&b.1, &a.1))
                .then_with(|| b.0.cmp(&a.0))
        });
    }
    let mut out = FlameGraph::default();
    let mut waiting = vec![(0_u32, String::new(), None, 0_u32, 0_u32)];
    while let Some((number, label, origin, parent, depth)) = waiting.pop() {
        let Some(node) = nodes.get(&number) else {
            continue;
        };
        let position = out.nodes.len() as u32;
        out.nodes.push(FlameNode {
            label,
            number,
            origin,
            parent,
            depth,
            total: node.total,
            own: node.own,
        });
        for (child, label, origin) in children.remove(&number).unwrap_or_default() {
            waiting.push((child, label, origin, position, depth + 1));
        }
    }
    out
}
