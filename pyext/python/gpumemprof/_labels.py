"""What runs now, told to PyTorch: module, phase, step and micro-batch of every allocation.

Nothing here may change what is measured. Forward hooks set a label before and after each module.
For the backward pass the forward's identity is carried over: the graph nodes that leave and enter a
module get a pre-hook that sets the label when the engine reaches them. Full-backward hooks are never
used, as they insert nodes and copies into the graph and raise the peak.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import threading
import time
import weakref
from array import array
from collections import deque
from typing import Any, Callable, Optional

from ._files import say

WRAPPERS = frozenset(
    [
        "CheckpointWrapper",
        "DataParallel",
        "DistributedDataParallel",
        "FullyShardedDataParallel",
        "OptimizedModule",
    ]
)
"""Modules that only wrap another: their child takes their place in the path."""

MAX_HOOKED = 200_000
"""Graph nodes remembered as hooked, at most, between two steps."""

MAX_OUTPUTS = 32
"""Tensors of one module's output that are looked at."""


class SpanLog:
    """What ran from which time on, for PyTorch before 2.10; the newest ``capacity`` entries."""

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.capacity = capacity
        self._texts: dict[str, int] = {}
        self._times = array("q")
        self._labels = array("i")
        self._next = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """``text`` is what runs from now on; "" for nothing known."""
        now = time.time_ns() // 1000
        with self._lock:
            label = self._texts.setdefault(text, len(self._texts)) if text else -1
            if len(self._times) < self.capacity:
                self._times.append(now)
                self._labels.append(label)
            else:
                self._times[self._next] = now
                self._labels[self._next] = label
                self._next = (self._next + 1) % self.capacity

    def document(self) -> tuple[list[str], dict[str, list[int]]]:
        """The labels, and the spans that name them by position, oldest first."""
        with self._lock:
            turn = self._next
            times = self._times[turn:] + self._times[:turn]
            labels = self._labels[turn:] + self._labels[:turn]
            return list(self._texts), {"time_us": times.tolist(), "label": labels.tolist()}


class _Record:
    """One module: its name, and its labels for one generation (step and micro-batch)."""

    __slots__ = ("backward", "extra", "forward", "generation", "head", "hook", "name", "ref")

    def __init__(self, ref: Optional[weakref.ref[Any]], name: str, extra: dict[str, Any]) -> None:
        self.ref = ref
        self.name = name
        self.extra = extra
        self.head = ""
        """The label's part that stays, without its closing brace."""
        self.generation = -1
        self.forward = ""
        self.backward = ""
        self.hook: Optional[Callable[[Any], None]] = None


class _Local(threading.local):
    """What one thread is in."""

    def __init__(self) -> None:
        self.stack: list[tuple[str, Optional[_Record]]] = []
        self.current = ""
        self.record: Optional[_Record] = None
        self.node = ""
        """The label of the last graph node reached."""
        self.task = -1
        self.hooked: set[int] = set()
        self.recomputes = False


class Labels:
    """Labels allocations by module, phase, step and micro-batch."""

    def __init__(self, torch: Any, set_metadata: Optional[Callable[[str], None]], model: Any = None) -> None:
        self.torch = torch
        self.spans: Optional[SpanLog] = SpanLog() if set_metadata is None else None
        self._set_metadata = set_metadata
        self._tell: Callable[[str], None] = _ignore
        self.step = 0
        self.micro_batch = 0
        self.is_explicit = False
        """Whether the program numbers its steps itself."""
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.roots: list[weakref.ref[Any]] = []
        self.before_optimizer: Optional[Callable[[Any], None]] = None
        self.on_step: Optional[Callable[[int], None]] = None
        self.on_activity: Optional[Callable[[], None]] = None
        self._step_is_over = False
        self._passes = 0
        """Backward passes since the last forward."""
        self.batches: deque[tuple[int, int, list[str], dict[str, int]]] = deque(maxlen=64)
        """Step, micro-batch, shapes of the model's inputs and allocated bytes of the current device, at
        the beginning of the newest forward passes."""
        self._noted: Optional[tuple[int, int]] = None
        self._generation = 0
        self._records: dict[int, _Record] = {}
        self._loss_record = _Record(None, "(loss)", {})
        """Stands for what lies between the model's outputs and the start of the backward pass."""
        self._plain_backward: Any = None
        self._wrapper: Any = None
        self._local = _Local()
        self._handles: list[Any] = []
        self._tensor = torch.Tensor
        self._graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)
        self._is_compiling = _is_compiling(torch)
        if model is not None:
            self.add_root(model)

    # Names

    def add_root(self, model: Any) -> None:
        """Names every module of ``model``."""
        prefix = ""
        known = [root() for root in self.roots]
        if any(root is not None for root in known):
            inside = {id(module) for module in model.modules()}
            contains_first = known[0] is not None and id(known[0]) in inside
            prefix = "" if contains_first else type(model).__name__
        if prefix == "":
            self.roots.insert(0, weakref.ref(model))
        else:
            self.roots.append(weakref.ref(model))
        seen: set[int] = set()
        self._name(model, prefix, type(model).__name__, seen)

    def _name(self, module: Any, path: str, root: str, seen: set[int]) -> None:
        pending = [(module, path, "")]
        while pending:
            module, path, wrapper = pending.pop()
            if id(module) in seen:
                record = self._records[id(module)]
                shared = record.extra.setdefault("shared", [])
                if len(shared) < 8:
                    shared.append(path)
                    record.head = ""
                continue
            seen.add(id(module))
            kind = type(module).__name__
            extra: dict[str, Any] = {}
            is_wrapper = kind in WRAPPERS or kind.startswith("FSDP")
            if is_wrapper:
                extra["wrapper"] = kind
            self._add(module, path or root, extra)
            children = list(module.named_children())
            passes_through = kind in WRAPPERS and len(children) == 1
            for name, child in reversed(children):
                inner = path if passes_through else f"{path}.{name}" if path else name
                pending.append((child, inner, kind))

    def _add(self, module: Any, name: str, extra: dict[str, Any]) -> _Record:
        key = id(module)
        records = self._records

        def forget(_: Any) -> None:
            records.pop(key, None)

        record = _Record(weakref.ref(module, forget), name, extra)
        records[key] = record
        return record

    def _find(self, module: Any, parent: Optional[_Record]) -> _Record:
        """The record of a module not seen before."""
        if parent is not None:
            return self._add(module, f"{parent.name}.{type(module).__name__}", {})
        self.add_root(module)
        return self._records[id(module)]

    def name_of(self, module: Any) -> str:
        """The full name of a module seen before, else its class."""
        record = self._records.get(id(module))
        return record.name if record is not None else type(module).__name__

    # Labels

    def _text(self, phase: Optional[str], record: Optional[_Record] = None) -> str:
        """The label as JSON. Built by hand: `json.dumps` costs 4 µs, and this runs for every module of
        every step."""
        if record is None:
            head = "{"
        else:
            if not record.head:
                record.head = json.dumps({"module": record.name, **record.extra}, separators=(",", ":"))[:-1] + ","
            head = record.head
        if phase is not None:
            head = f'{head}"phase":"{phase}",'
        if self.micro_batch:
            return f'{head}"step":{self.step},"micro_batch":{self.micro_batch}}}'
        return f'{head}"step":{self.step}}}'

    def _loss(self, phase: str) -> str:
        return self._text(phase, self._loss_record)

    def _refresh(self, record: _Record) -> None:
        record.generation = self._generation
        record.forward = self._text("forward", record)
        backward = self._text("backward", record)
        record.backward = backward
        tell, local, graph_task, queue = self._tell, self._local, self._graph_task, self._queue_reset

        def hook(_gradients: Any) -> None:
            tell(backward)
            local.node = backward
            task = graph_task()
            if task != local.task:
                local.task = task
                queue()

        record.hook = hook

    def _queue_reset(self) -> None:
        """At the end of this backward pass its thread forgets the label: the next pass begins
        before any of our nodes is reached."""
        self.torch.autograd.Variable._execution_engine.queue_callback(self._reset)

    def _reset(self) -> None:
        local = self._local
        local.task = -1
        self._tell(local.current)
        self._passes += 1

    def _set(self, text: str) -> None:
        self._local.current = text
        self._tell(text)

    def current(self) -> dict[str, Any]:
        """What this thread is in, as far as it was told."""
        text = self._local.current
        get = getattr(self.torch._C, "_cuda_getMemoryMetadata", None)
        if get is not None and self.spans is None and self._tell is not _ignore:
            text = get() or text
        try:
            out = json.loads(text)
        except ValueError:
            return {}
        return out if isinstance(out, dict) else {}

    def _allocated(self) -> dict[str, int]:
        """Allocated bytes of the current device: the counters of all would cost too much a step."""
        device = self.torch.cuda.current_device()
        statistics = self.torch._C._cuda_memoryStats(device)
        return {str(device): statistics["allocated_bytes"]["all"]["current"]}

    def batches_document(self) -> list[dict[str, Any]]:
        """The newest forward passes, for a sidecar."""
        return [
            {"step": step, "micro_batch": micro, "inputs": inputs, "allocated_bytes": allocated}
            for step, micro, inputs, allocated in self.batches
        ]

    # Hooks

    def _before_forward(self, module: Any, inputs: Any) -> None:
        if self._is_compiling():
            return
        local = self._local
        stack = local.stack
        record = self._records.get(id(module))
        parent = local.record
        if not stack:
            self._enter_root(local, inputs)
        if record is None:
            record = self._find(module, parent)
        if record.generation != self._generation:
            self._refresh(record)
        stack.append((local.node if local.recomputes and not stack else local.current, parent))
        local.record = record
        if local.recomputes:
            text = record.backward[:-1] + ',"recompute":true}'
        else:
            text = record.forward
        local.current = text
        self._tell(text)
        if parent is not None:
            # What this module's input came from is reached when its own backward is over.
            self._hook(inputs, parent, local.hooked)

    def _after_forward(self, module: Any, _inputs: Any, output: Any) -> None:
        local = self._local
        stack = local.stack
        if not stack or self._is_compiling():
            return
        record = local.record
        text, local.record = stack.pop()
        if record is not None:
            self._hook(output, record, local.hooked)
        if not stack and not local.recomputes:
            # What follows until the backward pass begins is the loss; without gradients there is
            # none, and only the step is known.
            text = self._loss("forward") if self.torch.is_grad_enabled() else self._text(None)
        local.current = "" if local.recomputes and not stack else text
        self._tell(text)

    def _enter_root(self, local: _Local, inputs: Any) -> None:
        local.recomputes = self._graph_task() >= 0
        if local.recomputes:
            return
        if self.on_activity is not None:
            self.on_activity()
        if self._step_is_over and not self.is_explicit:
            self.next_step()
        passes, self._passes = self._passes, 0
        if passes and not self._step_is_over:
            self.micro_batch += passes
            self._generation += 1
        if len(local.hooked) > MAX_HOOKED:
            local.hooked.clear()
        if self._tell is not _ignore and self.torch.is_grad_enabled() and self._noted != (self.step, self.micro_batch):
            self._noted = (self.step, self.micro_batch)
            self.batches.append((self.step, self.micro_batch, _shapes(inputs, self._tensor), self._allocated()))

    def _hook(self, value: Any, record: _Record, hooked: set[int]) -> None:
        if isinstance(value, self._tensor):
            node = value.grad_fn
            if node is not None:
                number = node._sequence_nr()
                if number not in hooked:
                    hooked.add(number)
                    if record.generation != self._generation:
                        self._refresh(record)
                    node.register_prehook(record.hook)
        elif isinstance(value, (tuple, list)):
            for part in value[:MAX_OUTPUTS]:
                if part is not None:
                    self._hook(part, record, hooked)
        elif isinstance(value, dict):
            for part in list(value.values())[:MAX_OUTPUTS]:
                if part is not None:
                    self._hook(part, record, hooked)

    def _backward(self, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        """`torch.autograd.backward`, told when it begins and ends. Calls it with what it was given."""
        try:
            if self._tell is not _ignore and not self._is_compiling():
                self._set(self._loss("backward"))
                self._hook(tensors, self._loss_record, set())
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)
        try:
            return self._plain_backward(tensors, *args, **kwargs)
        finally:
            if self._tell is not _ignore and not self._is_compiling():
                self._set(self._text(None))

    def _give_up(self, problem: Exception) -> None:
        self._tell = _ignore
        say(f"allocations are labelled no more: {type(problem).__name__}: {problem}")

    def _before_optimizer(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        self.optimizers.add(optimizer)
        if self.before_optimizer is not None:
            self.before_optimizer(optimizer)
        self._set(self._text("optimizer"))

    def _after_optimizer(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        self._step_is_over = True
        if self.is_explicit:
            self._set(self._text(None))
            return
        # What comes now belongs to the next step, whose number its first forward makes current.
        self.step += 1
        try:
            self._set(self._text("data"))
        finally:
            self.step -= 1

    def next_step(self, step: Optional[int] = None) -> None:
        """A new step begins."""
        self.step = self.step + 1 if step is None else step
        self.micro_batch = 0
        self._passes = 0
        self._step_is_over = False
        self._generation += 1
        self._local.hooked.clear()
        if not self._local.stack:
            self._set(self._text("data"))
        if self.on_step is not None:
            self.on_step(self.step)

    def begin(self) -> None:
        """CUDA has started: from now on there is an allocator to tell."""
        self._tell = self._set_metadata or self.spans.add  # type: ignore[union-attr]
        self._generation += 1
        if self._local.current:
            self._tell(self._local.current)

    def attach(self) -> None:
        """Hooks into modules and optimizers."""
        autograd = self.torch.autograd
        self._plain_backward = autograd.backward
        backward = self._backward

        @functools.wraps(autograd.backward)
        def labelled(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            return backward(tensors, *args, **kwargs)

        self._wrapper = autograd.backward = labelled
        modules = self.torch.nn.modules.module
        self._handles.append(modules.register_module_forward_pre_hook(self._before_forward))
        options = {"always_call": True} if _takes(modules.register_module_forward_hook, "always_call") else {}
        self._handles.append(modules.register_module_forward_hook(self._after_forward, **options))
        optim = importlib.import_module("torch.optim.optimizer")
        for name, hook in (
            ("register_optimizer_step_pre_hook", self._before_optimizer),
            ("register_optimizer_step_post_hook", self._after_optimizer),
        ):
            register = getattr(optim, name, None)
            if register is not None:
                self._handles.append(register(hook))

    def detach_silently(self) -> None:
        """Stops labelling in a forked child, where CUDA must not be touched."""
        self._tell = _ignore
        self.detach()

    def detach(self) -> None:
        """Stops labelling; nodes hooked so far keep their hooks until their graph is gone."""
        autograd = self.torch.autograd
        if autograd.backward is self._wrapper:
            # Else somebody wrapped ours: it stays, and only passes on.
            autograd.backward = self._plain_backward
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._tell is not _ignore:
            self._tell("")
        self._tell = _ignore
        self._local.current = ""


def _shapes(inputs: Any, tensor: Any) -> list[str]:
    """Shapes and types of the tensors among a module's positional inputs: ``(8, 512)int64``."""
    return [
        f"{tuple(value.shape)}{str(value.dtype).rpartition('.')[2]}"
        for value in inputs[:8]
        if isinstance(value, tensor)
    ]


def _ignore(_text: str) -> None:
    """Tells nobody."""


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _is_compiling(torch: Any) -> Callable[[], bool]:
    """Whether a compiler traces the hook instead of running it. In compiled regions the labels stay
    those of the module that was entered from outside."""
    for holder, name in (
        (getattr(torch, "compiler", None), "is_compiling"),
        (getattr(torch, "_dynamo", None), "is_compiling"),
    ):
        found = getattr(holder, name, None)
        if found is not None:
            return found
    return lambda: False
