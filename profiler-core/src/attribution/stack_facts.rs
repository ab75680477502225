//! What a whole call stack says about the moment it was taken: which work was going on, and which
//! modules were being called.
//!
//! Like everything about stacks it is worked out once per stack node, from the caller's.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher as _;

use crate::snapshot::{FrameId, Snapshot, StackId};

use super::frame_class::{FrameClass, Marker, class_of};

/// The kind of work a stack is part of. The innermost marker decides, but what happens while a
/// forward, a backward or an optimizer step runs (constructing an object, say) stays part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// No frame tells.
    #[default]
    Unknown,
    /// Inside a module call.
    Forward,
    /// Inside the autograd engine or a call into it.
    Backward,
    /// Inside an optimizer.
    Optimizer,
    /// Gradients are dropped or zeroed.
    ZeroGrad,
    /// A module is constructed, initialised, moved or loaded.
    Setup,
    /// A data loader is working.
    Data,
}

/// Facts of one stack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StackFacts {
    pub(crate) role: Role,
    flags: u8,
    /// The innermost module call.
    pub(crate) call: CallId,
}

impl StackFacts {
    const RECOMPUTE: u8 = 1;
    const ACCUMULATE: u8 = 1 << 1;
    const OPTIMIZER_INIT: u8 = 1 << 2;
    const BLAS_WORKSPACE: u8 = 1 << 3;
    const CUDNN: u8 = 1 << 4;
    const TENSOR: u8 = 1 << 5;

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A module call inside the backward: activation checkpointing recomputes its forward.
    pub(crate) fn is_recompute(self) -> bool {
        self.has(Self::RECOMPUTE)
    }

    /// A gradient is stored into a leaf.
    pub(crate) fn is_accumulate(self) -> bool {
        self.has(Self::ACCUMULATE)
    }

    /// Optimizer state is being made.
    pub(crate) fn is_optimizer_init(self) -> bool {
        self.has(Self::OPTIMIZER_INIT)
    }

    /// A library's scratch buffer: cuBLAS's, or what cuDNN code takes without making a tensor.
    pub(crate) fn is_workspace(self) -> bool {
        self.has(Self::BLAS_WORKSPACE) || self.has(Self::CUDNN) && !self.has(Self::TENSOR)
    }

    /// The facts of the stack that adds a frame with `marker` to this one.
    fn with(mut self, marker: Marker, is_outermost_python: bool) -> Self {
        let busy = matches!(self.role, Role::Forward | Role::Backward | Role::Optimizer);
        match marker {
            Marker::None => {}
            Marker::ModuleCall if self.role == Role::Backward => self.flags |= Self::RECOMPUTE,
            Marker::ModuleCall => self.role = Role::Forward,
            Marker::Optimizer => self.role = Role::Optimizer,
            Marker::OptimizerInit => {
                self.role = Role::Optimizer;
                self.flags |= Self::OPTIMIZER_INIT;
            }
            Marker::ZeroGrad => self.role = Role::ZeroGrad,
            Marker::Closure if self.role == Role::Optimizer => self.role = Role::Unknown,
            Marker::Closure => {}
            Marker::Backward => self.role = Role::Backward,
            Marker::FunctionApply => {
                if is_outermost_python {
                    self.role = Role::Backward;
                }
            }
            Marker::AccumulateGrad => {
                self.role = Role::Backward;
                self.flags |= Self::ACCUMULATE;
            }
            Marker::Convert | Marker::Init | Marker::Load => {
                if !busy {
                    self.role = Role::Setup;
                }
            }
            Marker::Data => {
                if !busy {
                    self.role = Role::Data;
                }
            }
            Marker::BlasWorkspace => self.flags |= Self::BLAS_WORKSPACE,
            Marker::Cudnn => self.flags |= Self::CUDNN,
            Marker::TensorFactory => self.flags |= Self::TENSOR,
        }
        self
    }
}

/// A place in the tree of module calls; `CallId(0)` is outside of all modules.
///
/// ```text
/// train.py:37 ──▶ model.py forward ─┬─ :15 ──▶ sparse.py forward
///                                   └─ :16 ──▶ model.py forward ── :10 ──▶ linear.py forward
/// ```
///
/// Two calls are the same place when the callee's file and every line on the way from the calling
/// module's `forward` are the same. Whether they are the same *module* the stack does not say: see
/// [`super::module_calls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u32);

/// One place of the call tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) parent: CallId,
    /// The frame that called, if one was recorded.
    pub(crate) site: Option<FrameId>,
    /// The called `forward`, at the line first seen.
    pub(crate) callee: FrameId,
    pub(crate) depth: u32,
}

/// Facts of all stacks, and the tree of module calls they draw.
#[derive(Debug, Default)]
pub(crate) struct StackFactsTable {
    facts: Vec<StackFacts>,
    calls: Vec<Call>,
}

/// What is needed of a stack to go on to its callees.
#[derive(Clone, Copy, Default)]
struct Walk {
    /// The innermost call is open: its callee has not been seen yet.
    open: bool,
    /// The callee seen is not called `forward`; a decorator, maybe.
    provisional: bool,
    has_python: bool,
    /// The last Python frame is `apply` of an autograd function.
    in_function: bool,
    /// Hash of the frames since the innermost call's callee, that one included.
    way: u64,
    /// Hash of the frames on the way to the innermost call.
    site_way: u64,
    /// The last Python frame.
    last: Option<FrameId>,
    site: Option<FrameId>,
}

impl StackFactsTable {
    pub(crate) fn new(snapshot: &Snapshot, classes: &[FrameClass]) -> Self {
        let mut table = Self {
            facts: vec![StackFacts::default()],
            calls: Vec::new(),
        };
        let files: Vec<_> = snapshot
            .frames
            .iter()
            .map(|(_, f)| (f.name, f.filename))
            .collect();
        let file_of = |frame: FrameId| files.get(frame.index()).copied().unwrap_or_default();
        let hasher = FixedState::default();
        let mut walks = vec![Walk::default()];
        let mut lookup: HashMap<_, CallId, FixedState> = HashMap::default();
        let rows = u32::try_from(snapshot.stacks.len()).unwrap_or(u32::MAX);
        for row in 1..rows {
            let Some(node) = snapshot.stacks.node(StackId(row)) else {
                break;
            };
            let outer = node.caller.index();
            let mut walk = walks.get(outer).copied().unwrap_or_default();
            let before = table.facts.get(outer).copied().unwrap_or_default();
            let class = class_of(classes, node.frame);
            let is_python = class.origin != super::frame_class::FrameOrigin::Native;
            let mut facts = before.with(class.marker, is_python && !walk.has_python);
            if is_python {
                walk.has_python = true;
                // A `forward` called directly is a module call too, unless it is that of an
                // autograd function.
                let is_direct = class.is_forward
                    && !walk.open
                    && !walk.provisional
                    && !class.is_wrapper
                    && !walk.in_function;
                if is_direct {
                    facts = facts.with(Marker::ModuleCall, false);
                }
                if (class.marker == Marker::ModuleCall || is_direct) && !walk.open {
                    walk.open = true;
                    walk.site_way = walk.way;
                    walk.site = walk.last;
                }
                walk.in_function = class.marker == Marker::FunctionApply;
                if class.marker != Marker::ModuleCall {
                    let renamed = walk.provisional && class.is_forward && !walk.open;
                    if walk.open || renamed {
                        let parent = if walk.open {
                            before.call
                        } else {
                            table.parent(before.call)
                        };
                        let too_deep = table.depth(parent) >= Self::MAX_DEPTH;
                        facts.call = if class.is_wrapper || too_deep {
                            parent
                        } else {
                            let key = (parent, walk.site_way, file_of(node.frame));
                            let depth = table.depth(parent) + 1;
                            let calls = &mut table.calls;
                            *lookup.entry(key).or_insert_with(|| {
                                calls.push(Call {
                                    parent,
                                    site: walk.site,
                                    callee: node.frame,
                                    depth,
                                });
                                CallId(calls.len() as u32)
                            })
                        };
                        walk.open = false;
                        walk.provisional = !class.is_forward && !class.is_wrapper;
                    }
                    walk.way = hasher.hash_one((walk.way, node.frame));
                    if facts.call != before.call {
                        walk.way = hasher.hash_one(node.frame);
                    }
                    walk.last = Some(node.frame);
                }
            }
            table.facts.push(facts);
            walks.push(walk);
        }
        table
    }

    /// The facts of `stack`; those of the empty stack for one of another snapshot.
    pub(crate) fn get(&self, stack: StackId) -> StackFacts {
        self.facts.get(stack.index()).copied().unwrap_or_default()
    }

    /// The place in the call tree, none for the outside.
    pub(crate) fn call(&self, id: CallId) -> Option<Call> {
        let row = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.calls.get(row).copied()
    }

    pub(crate) fn parent(&self, id: CallId) -> CallId {
        self.call(id).map_or(CallId(0), |call| call.parent)
    }

    pub(crate) fn depth(&self, id: CallId) -> u32 {
        self.call(id).map_or(0, |call| call.depth)
    }

    /// How many places there are, the outside included.
    pub(crate) fn call_count(&self) -> usize {
        self.calls.len() + 1
    }

    /// Deeper module nesting than this is cut: no model has it, a hostile file might.
    pub(crate) const MAX_DEPTH: u32 = 64;
}

#[cfg(test)]
mod tests {
    use super::super::frame_class::classify_frames;
    use super::*;
    use crate::snapshot::Frame;

    const MODULE: &str = "/v/lib/python3.11/site-packages/torch/nn/modules/module.py";

    fn stack(snapshot: &mut Snapshot, frames: &[(&str, &str, u64)]) -> StackId {
        let ids: Vec<FrameId> = frames
            .iter()
            .map(|&(name, file, line)| {
                let frame = Frame {
                    name: snapshot.strings.intern(name),
                    filename: snapshot.strings.intern(file),
                    line,
                    fx: 0,
                };
                snapshot.frames.intern(frame)
            })
            .collect();
        snapshot.stacks.intern(&ids)
    }

    fn facts(snapshot: &Snapshot) -> StackFactsTable {
        StackFactsTable::new(snapshot, &classify_frames(snapshot))
    }

    #[test]
    fn calls_from_different_lines_are_different_places() {
        let mut snapshot = Snapshot::default();
        let call = ("_call_impl", MODULE, 1798);
        let wrapped = ("_wrapped_call_impl", MODULE, 1787);
        let mut at = |inner: u64, outer: u64| {
            let linear = "/v/lib/python3.11/site-packages/torch/nn/modules/linear.py";
            stack(
                &mut snapshot,
                &[
                    ("forward", linear, 134),
                    call,
                    wrapped,
                    ("forward", "/srv/model.py", inner),
                    call,
                    wrapped,
                    ("step", "/srv/train.py", outer),
                ],
            )
        };
        let (a, b, c) = (at(10, 5), at(11, 5), at(10, 6));
        let table = facts(&snapshot);
        let call_of = |stack| table.get(stack).call;
        assert_ne!(call_of(a), call_of(b));
        assert_ne!(call_of(a), call_of(c));
        assert_eq!(table.parent(call_of(a)), table.parent(call_of(b)));
        assert_eq!(table.depth(call_of(a)), 2);
        assert_eq!(table.get(a).role, Role::Forward);
    }

    #[test]
    fn the_line_inside_the_callee_does_not_matter() {
        let mut snapshot = Snapshot::default();
        let mut at = |line: u64| {
            stack(
                &mut snapshot,
                &[
                    ("forward", "/srv/model.py", line),
                    ("_call_impl", MODULE, 1),
                    ("main", "/srv/train.py", 5),
                ],
            )
        };
        let (a, b) = (at(10), at(20));
        let table = facts(&snapshot);
        assert_eq!(table.get(a).call, table.get(b).call);
    }

    #[test]
    fn a_forward_called_directly_is_a_module_call() {
        let mut snapshot = Snapshot::default();
        let function = "/v/lib/python3.11/site-packages/torch/autograd/function.py";
        let direct = stack(
            &mut snapshot,
            &[
                ("forward", "/srv/norm.py", 9),
                ("forward", "/srv/model.py", 30),
                ("main", "/srv/train.py", 5),
            ],
        );
        let autograd = stack(
            &mut snapshot,
            &[
                ("forward", "/srv/op.py", 9),
                ("apply", function, 570),
                ("main", "/srv/train.py", 5),
            ],
        );
        let table = facts(&snapshot);
        assert_eq!(table.depth(table.get(direct).call), 2);
        assert_eq!(table.get(direct).role, Role::Forward);
        assert_eq!(table.depth(table.get(autograd).call), 0);
    }

    #[test]
    fn a_decorated_forward_is_named_by_forward() {
        let mut snapshot = Snapshot::default();
        let id = stack(
            &mut snapshot,
            &[
                ("forward", "/srv/model.py", 9),
                (
                    "wrapper",
                    "/v/lib/python3.11/site-packages/transformers/utils/generic.py",
                    1,
                ),
                ("_call_impl", MODULE, 1),
                ("main", "/srv/train.py", 5),
            ],
        );
        let table = facts(&snapshot);
        let call = table.call(table.get(id).call).unwrap();
        assert_eq!(call.depth, 1);
        let file = snapshot.frames.get(call.callee).filename;
        assert_eq!(snapshot.strings.get(file), "/srv/model.py");
    }

    #[test]
    fn a_forward_inside_an_optimizers_closure_is_a_forward() {
        let mut snapshot = Snapshot::default();
        let adam = "/v/lib/python3.11/site-packages/torch/optim/adam.py";
        let forward = stack(
            &mut snapshot,
            &[
                ("forward", "/srv/model.py", 9),
                ("_call_impl", MODULE, 1),
                ("closure", "/srv/train.py", 5),
                ("step", adam, 5),
            ],
        );
        let loss = stack(
            &mut snapshot,
            &[("closure", "/srv/train.py", 6), ("step", adam, 5)],
        );
        let state = stack(
            &mut snapshot,
            &[("_init_group", adam, 7), ("step", adam, 5)],
        );
        let table = facts(&snapshot);
        assert_eq!(table.get(forward).role, Role::Forward);
        assert_eq!(table.get(loss).role, Role::Unknown);
        assert_eq!(table.get(state).role, Role::Optimizer);
        assert!(table.get(state).is_optimizer_init());
    }

    #[test]
    fn autograd_threads_and_workspaces_are_seen() {
        let mut snapshot = Snapshot::default();
        let apply = stack(
            &mut snapshot,
            &[
                ("backward", "/srv/op.py", 9),
                (
                    "apply",
                    "/v/lib/python3.11/site-packages/torch/autograd/function.py",
                    300,
                ),
            ],
        );
        let native = stack(
            &mut snapshot,
            &[
                ("at::cuda::getNewWorkspace()", "", 0),
                ("torch::autograd::AccumulateGrad::apply(int)", "", 0),
                ("torch::autograd::Engine::thread_main(int)", "", 0),
            ],
        );
        let table = facts(&snapshot);
        assert_eq!(table.get(apply).role, Role::Backward);
        assert_eq!(table.get(native).role, Role::Backward);
        assert!(table.get(native).is_workspace());
        assert!(table.get(native).is_accumulate());
        assert_eq!(table.get(StackId::EMPTY).role, Role::Unknown);
    }
}
