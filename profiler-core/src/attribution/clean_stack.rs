//! Call stacks as people want to read them.
//!
//! A recorded stack of 130 frames holds some ten that say something about the program:
//!
//! ```text
//! recorded (innermost first)                              cleaned
//! torch::unwind::unwind                          ┐
//! …CUDACachingAllocator…::malloc                 │ folded
//! at::detail::empty_cuda                         ┘
//! at::_ops::bmm::call                                     aten::bmm
//! torch::autograd::THPVariable_bmm, PyObject_…   ┐ folded
//! attend        model.py 31                      ┘        attend (model.py:31)
//! _call_impl, _wrapped_call_impl, _PyEval_…        folded
//! forward       model.py 54                               forward (model.py:54)
//! ```
//!
//! Nothing is lost: [`CleanStacks::frames`] says which recorded frames stand behind each shown
//! one. C++ frames keep their order and Python frames theirs. Since Python 3.11 one C++
//! `_PyEval_EvalFrameDefault` runs many Python frames, so PyTorch's own merge lists the left-over
//! Python frames after `_start`; with interpreter frames folded both forms read the same.
//!
//! The work is per distinct stack node, not per allocation: a cleaned stack is derived from the
//! cleaned stack of its caller.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::ops::Range;

use crate::snapshot::{FrameId, Snapshot, StackId, StackTable};

use super::frame_class::{Fold, FrameClass, FrameOrigin, class_of};
use super::native_name::short_native_name;

/// A cleaned stack: a node of a tree like [`StackTable`]'s, of shown frames only. Different
/// recorded stacks that read the same share one. `CleanStackId(0)` is the empty stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CleanStackId(pub u32);

/// One shown frame of a recorded stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanFrame {
    /// The frame shown.
    pub frame: FrameId,
    /// Whose code it is.
    pub origin: FrameOrigin,
    /// The recorded frames it stands for, as positions counted from the innermost (0). The
    /// ranges of a stack's frames follow each other and cover the recorded stack.
    pub recorded: Range<u32>,
}

#[derive(Clone, Copy, Debug)]
struct CleanNode {
    caller: CleanStackId,
    frame: FrameId,
}

/// The cleaned stacks of a snapshot, with names for their frames.
#[derive(Clone, Debug, Default)]
pub struct CleanStacks {
    /// Node of `CleanStackId(n)` at `n − 1`.
    nodes: Vec<CleanNode>,
    /// Cleaned stack of `StackId(n)` at `n`.
    of_stack: Vec<CleanStackId>,
    /// The frame shown in place of each frame: C++ overloads and template instances that have
    /// the same short name are one.
    canonical: Vec<FrameId>,
    origins: Vec<FrameOrigin>,
    folds: Vec<Option<Fold>>,
}

impl CleanStacks {
    /// Cleans every stack of `snapshot`.
    pub(crate) fn new(snapshot: &Snapshot, classes: &[FrameClass]) -> Self {
        let mut clean = Self {
            canonical: canonical_frames(snapshot, classes),
            origins: classes.iter().map(|class| class.origin).collect(),
            folds: classes.iter().map(|class| class.fold).collect(),
            ..Self::default()
        };
        let mut lookup: HashMap<(CleanStackId, FrameId), CleanStackId, FixedState> =
            HashMap::default();
        let operators = operators(snapshot, classes);
        clean.of_stack.push(CleanStackId(0));
        let rows = u32::try_from(snapshot.stacks.len()).unwrap_or(u32::MAX);
        for row in 1..rows {
            let Some(node) = snapshot.stacks.node(StackId(row)) else {
                break;
            };
            // A caller's row is always below its callees'.
            let caller = clean.of(node.caller);
            let id = if clean.is_shown(&operators, caller, node.frame) {
                let frame = clean.canonical_of(node.frame);
                let next = CleanStackId(clean.nodes.len() as u32 + 1);
                *lookup.entry((caller, frame)).or_insert_with(|| {
                    clean.nodes.push(CleanNode { caller, frame });
                    next
                })
            } else {
                caller
            };
            clean.of_stack.push(id);
        }
        clean
    }

    /// Whether `frame` is shown when `caller` is what is shown outside of it.
    fn is_shown(&self, operators: &Operators, caller: CleanStackId, frame: FrameId) -> bool {
        if self.fold_of(frame).is_some() {
            return false;
        }
        let frame = self.canonical_of(frame);
        let Some(outer) = self.node(caller) else {
            return true;
        };
        // Recursion (`Module._apply`), and `at::native::bmm` right inside `at::_ops::bmm`.
        outer.frame != frame
            && !(self.origin_of(frame) == FrameOrigin::Native
                && self.origin_of(outer.frame) == FrameOrigin::Native
                && is_same_operator(operators, outer.frame, frame))
    }

    /// The cleaned stack of a recorded one.
    #[must_use]
    pub fn of(&self, stack: StackId) -> CleanStackId {
        self.of_stack
            .get(stack.index())
            .copied()
            .unwrap_or_default()
    }

    /// The frames of a cleaned stack, innermost first.
    pub fn clean_frames(&self, id: CleanStackId) -> impl Iterator<Item = FrameId> + '_ {
        let mut at = id;
        std::iter::from_fn(move || {
            let node = self.node(at)?;
            at = node.caller;
            Some(node.frame)
        })
    }

    /// The innermost frame and the caller of a cleaned stack, none for the empty one.
    #[must_use]
    pub fn split(&self, id: CleanStackId) -> Option<(FrameId, CleanStackId)> {
        self.node(id).map(|node| (node.frame, node.caller))
    }

    /// How many cleaned stacks there are, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Whether no frame is shown at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The shown frames of a recorded stack, innermost first, each with the recorded frames it
    /// stands for. Folded frames belong to the next shown frame outside of them, those outside
    /// of all to the outermost shown one. Empty when no frame is shown.
    #[must_use]
    pub fn frames(&self, stacks: &StackTable, stack: StackId) -> Vec<CleanFrame> {
        let mut out: Vec<CleanFrame> = Vec::new();
        let (mut at, mut position, mut start) = (stack, 0_u32, 0_u32);
        while let Some(node) = stacks.node(at) {
            position += 1;
            let shown = self.of(at);
            if shown != self.of(node.caller)
                && let Some(clean) = self.node(shown)
            {
                out.push(CleanFrame {
                    frame: clean.frame,
                    origin: self.origin_of(clean.frame),
                    recorded: start..position,
                });
                start = position;
            }
            at = node.caller;
        }
        if let Some(outermost) = out.last_mut() {
            outermost.recorded.end = position;
        }
        out
    }

    /// Whose code `frame` is.
    #[must_use]
    pub fn origin_of(&self, frame: FrameId) -> FrameOrigin {
        self.origins
            .get(frame.index())
            .copied()
            .unwrap_or(FrameOrigin::Native)
    }

    /// Why `frame` is left out of cleaned stacks, if it is.
    #[must_use]
    pub fn fold_of(&self, frame: FrameId) -> Option<Fold> {
        self.folds.get(frame.index()).copied().flatten()
    }

    /// The innermost frame of the program's own code, else of a library's Python code.
    #[must_use]
    pub fn blame(&self, id: CleanStackId) -> Option<FrameId> {
        let mut library = None;
        for frame in self.clean_frames(id) {
            match self.origin_of(frame) {
                FrameOrigin::Project => return Some(frame),
                FrameOrigin::Library if library.is_none() => library = Some(frame),
                _ => {}
            }
        }
        library
    }

    fn canonical_of(&self, frame: FrameId) -> FrameId {
        self.canonical.get(frame.index()).copied().unwrap_or(frame)
    }

    fn node(&self, id: CleanStackId) -> Option<CleanNode> {
        let row = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.nodes.get(row).copied()
    }
}

/// The first frame with the same text on screen, for every frame.
fn canonical_frames(snapshot: &Snapshot, classes: &[FrameClass]) -> Vec<FrameId> {
    let mut first: HashMap<String, FrameId, FixedState> = HashMap::default();
    snapshot
        .frames
        .iter()
        .map(|(id, frame)| {
            let class = class_of(classes, id);
            if class.origin != FrameOrigin::Native || class.fold.is_some() {
                return id;
            }
            let short = short_native_name(snapshot.strings.get(frame.name));
            *first.entry(short).or_insert(id)
        })
        .collect()
}

/// What a C++ frame does for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    /// `at::_ops::mul_Tensor::call`: `mul_Tensor`.
    Call(String),
    /// `at::native::mul`: `mul`.
    Implementation(String),
}

type Operators = HashMap<FrameId, Operator, FixedState>;

/// The operators of all C++ frames that have one.
fn operators(snapshot: &Snapshot, classes: &[FrameClass]) -> Operators {
    let frames = snapshot.frames.iter().filter_map(|(id, frame)| {
        let class = class_of(classes, id);
        if class.origin != FrameOrigin::Native || class.fold.is_some() {
            return None;
        }
        let short = short_native_name(snapshot.strings.get(frame.name));
        let call = short
            .strip_prefix("at::_ops::")
            .and_then(|op| op.strip_suffix("::call"));
        let implementation = short.strip_prefix("at::native::").map(|function| {
            function
                .trim_end_matches("_symint")
                .trim_end_matches("_cuda")
        });
        let operator = match (call, implementation) {
            (Some(op), _) => Operator::Call(op.to_owned()),
            (None, Some(function)) => Operator::Implementation(function.to_owned()),
            (None, None) => return None,
        };
        Some((id, operator))
    });
    frames.collect()
}

/// Whether `inner` is only the implementation of the operator that `outer` calls.
fn is_same_operator(operators: &Operators, outer: FrameId, inner: FrameId) -> bool {
    match (operators.get(&outer), operators.get(&inner)) {
        (Some(Operator::Call(operator)), Some(Operator::Implementation(function))) => {
            operator.starts_with(function) || function.starts_with(operator)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame_class::{classify_frames, is_library_path};
    use super::super::frame_label::frame_label;
    use super::*;
    use crate::snapshot::Frame;

    /// A snapshot with one stack of `(name, file, line)`, innermost first.
    fn with_stack(frames: &[(&str, &str, u64)]) -> (Snapshot, StackId) {
        let mut snapshot = Snapshot::default();
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
        let stack = snapshot.stacks.intern(&ids);
        (snapshot, stack)
    }

    fn labels(snapshot: &Snapshot, stack: StackId) -> Vec<String> {
        let clean = CleanStacks::new(snapshot, &classify_frames(snapshot));
        clean
            .clean_frames(clean.of(stack))
            .map(|frame| frame_label(snapshot, frame))
            .collect()
    }

    /// From a PyTorch 2.6 snapshot with Python 3.13: the left-over Python frames follow `_start`.
    const INTERLEAVED: &[(&str, &str, u64)] = &[
        ("torch::unwind::unwind()", "??", 0),
        (
            "torch::CapturedTraceback::gather(bool, bool, bool)",
            "??",
            0,
        ),
        (
            "c10::cuda::CUDACachingAllocator::Native::DeviceCachingAllocator::malloc(signed char, unsigned long, CUstream_st*)",
            "CUDACachingAllocator.cpp",
            0,
        ),
        (
            "at::TensorBase at::detail::_empty_strided_generic<c10::ArrayRef<long> >(c10::ArrayRef<long>)",
            "",
            0,
        ),
        (
            "at::_ops::empty_strided::redispatch(c10::DispatchKeySet)",
            "??",
            0,
        ),
        ("at::native::empty_like(at::Tensor const&)", "??", 0),
        ("at::native::zeros_like(at::Tensor const&)", "??", 0),
        (
            "c10::impl::wrap_kernel_functor_unboxed_<c10::impl::detail::WrapFunctionIntoFunctor_<int> >",
            "RegisterCompositeExplicitAutograd.cpp",
            0,
        ),
        ("at::_ops::zeros_like::call(at::Tensor const&)", "??", 0),
        (
            "torch::autograd::THPVariable_zeros_like(_object*, _object*, _object*)",
            "python_torch_functions_0.cpp",
            0,
        ),
        ("cfunction_call", "??", 0),
        ("step", "/home/c/assignment1/cs336_basics/optimizers.py", 82),
        ("_PyEval_EvalFrameDefault", "??", 0),
        ("run_mod.llvm.9196888086361497952", "??", 0),
        ("_start", "??", 0),
        (
            "wrapper",
            "/envs/lib/python3.13/site-packages/torch/optim/optimizer.py",
            493,
        ),
        ("<module>", "/home/c/assignment2/benchmark.py", 435),
    ];

    #[test]
    fn a_real_interleaved_stack_reads_in_one_order() {
        let (snapshot, stack) = with_stack(INTERLEAVED);
        assert_eq!(
            labels(&snapshot, stack),
            [
                "aten::zeros_like",
                "step (cs336_basics/optimizers.py:82)",
                "wrapper (torch/optim/optimizer.py:493)",
                "<module> (assignment2/benchmark.py:435)",
            ]
        );
    }

    #[test]
    fn shown_frames_cover_the_recorded_stack() {
        let (snapshot, stack) = with_stack(INTERLEAVED);
        let clean = CleanStacks::new(&snapshot, &classify_frames(&snapshot));
        let frames = clean.frames(&snapshot.stacks, stack);
        let ranges: Vec<_> = frames.iter().map(|frame| frame.recorded.clone()).collect();
        assert_eq!(ranges, [0..9, 9..12, 12..16, 16..17]);
        let origins: Vec<_> = frames.iter().map(|frame| frame.origin).collect();
        assert_eq!(
            origins,
            [
                FrameOrigin::Native,
                FrameOrigin::Project,
                FrameOrigin::Library,
                FrameOrigin::Project
            ]
        );
        let shown: Vec<_> = frames.iter().map(|frame| frame.frame).collect();
        let cleaned: Vec<_> = clean.clean_frames(clean.of(stack)).collect();
        assert_eq!(shown, cleaned);
    }

    #[test]
    fn module_calls_and_recursion_are_collapsed() {
        let module = "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/module.py";
        let (snapshot, stack) = with_stack(&[
            (
                "forward",
                "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/linear.py",
                134,
            ),
            ("_call_impl", module, 1798),
            ("_wrapped_call_impl", module, 1787),
            ("_apply", module, 933),
            ("_apply", module, 933),
            ("<module>", "C:\\research\\train.py", 3),
        ]);
        assert_eq!(
            labels(&snapshot, stack),
            [
                "forward (torch/nn/modules/linear.py:134)",
                "_apply (torch/nn/modules/module.py:933)",
                "<module> (research/train.py:3)",
            ]
        );
    }

    #[test]
    fn backward_nodes_and_engine_stay() {
        let (snapshot, stack) = with_stack(&[
            (
                "at::_ops::bmm::call(at::Tensor const&, at::Tensor const&)",
                "??",
                0,
            ),
            (
                "torch::autograd::generated::BmmBackward0::apply(std::vector<at::Tensor>&&)",
                "??",
                0,
            ),
            (
                "torch::autograd::Node::operator()(std::vector<at::Tensor>&&)",
                "",
                0,
            ),
            ("torch::autograd::Engine::evaluate_function(int)", "??", 0),
            ("torch::autograd::Engine::thread_main(int)", "??", 0),
            ("execute_native_thread_routine", "thread48.o", 0),
        ]);
        assert_eq!(
            labels(&snapshot, stack),
            ["aten::bmm", "BmmBackward0", "autograd engine"]
        );
    }

    #[test]
    fn nothing_shown_is_the_empty_stack() {
        let (snapshot, stack) = with_stack(&[("??", "libtorch.so", 7), ("_start", "??", 0)]);
        let clean = CleanStacks::new(&snapshot, &classify_frames(&snapshot));
        assert_eq!(clean.of(stack), CleanStackId(0));
        assert!(clean.frames(&snapshot.stacks, stack).is_empty());
        assert_eq!(clean.of(StackId(99)), CleanStackId(0));
    }

    #[test]
    fn windows_and_standard_library_paths_are_library() {
        for path in [
            "C:/Users/j/Programs/Python/Python310/lib/runpy.py",
            "/home/n/envs/nca3/lib/python3.10/asyncio/base_events.py",
            "/usr/lib/python3/dist-packages/torch/_tensor.py",
            "<frozen runpy>",
            "torch/nn/functional.py",
        ] {
            assert!(is_library_path(path), "{path}");
        }
        for path in [
            "/home/lib/train.py",
            "C:/research/DeComFL/client.py",
            "<string>",
        ] {
            assert!(!is_library_path(path), "{path}");
        }
    }
}
