"""What runs now, told to PyTorch: module, phase, step and micro-batch of every allocation.

Nothing here may change what is measured. Forward hooks set a label before and after each module.
For the backward pass the forward's identity is carried over: the graph nodes that leave and enter a
module get a hook that sets the label when the engine reaches them. Full-backward hooks are never
used, as they insert nodes and copies into the graph and raise the peak.
"""

from __future__ import annotations

import functools
import importlib
import json
import threading
import weakref
from functools import partial
from typing import Any, Callable, Optional

from ._batches import Batches, call_keywords, most_positional
from ._files import say
from ._names import Names, Record
from ._nodes import NodeHooks, nodes_of
from ._spans import SpanLog
from ._state import Local, State
from ._torch import compiling_check, takes

MAX_HOOKED = 200_000
"""Graph nodes remembered as hooked, at most, between two steps."""


class Labels:
    """Labels allocations by module, phase, step and micro-batch."""

    def __init__(
        self,
        torch: Any,
        set_metadata: Optional[Callable[[str], None]],
        model: Any = None,
        span_capacity: int = 1 << 18,
    ) -> None:
        self.torch = torch
        self.spans: Optional[SpanLog] = SpanLog(span_capacity) if set_metadata is None else None
        self._set_metadata = set_metadata
        self._tell: Callable[[str], None] = _ignore
        self.step = 0
        self.micro_batch = 0
        self.is_explicit = False
        """Whether the program numbers its steps itself."""
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.names = Names()
        self.batches = Batches(torch)
        self.before_optimizer: Optional[Callable[[Any], None]] = None
        self.on_step: Optional[Callable[[int], None]] = None
        self.on_activity: Optional[Callable[[], None]] = None
        self._step_is_over = False
        self._passes = 0
        """Backward passes since the last forward."""
        self._generation = 0
        self._end = '"step":0}'
        """How every label of this generation ends."""
        self._loss_record = Record(None, "(loss)", {})
        """Stands for what lies between the model's outputs and the start of the backward pass."""
        self._plain: dict[str, Any] = {}
        """`torch.autograd.backward` and `grad` as they were."""
        self._wrappers: dict[str, Any] = {}
        self._local = Local()
        self._handles: list[Any] = []
        self._tensor = torch.Tensor
        self._node_hooks: NodeHooks
        self._attach: Callable[[Any, dict[int, Callable[[Any], None]]], None]
        """Hangs a hook on a graph node; there once `attach` has been called."""
        self._graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)
        self._is_compiling = compiling_check(torch)
        if model is not None:
            self.add_root(model)

    # Names

    @property
    def roots(self) -> list[weakref.ref[Any]]:
        """The outermost modules."""
        return self.names.roots

    def add_root(self, model: Any) -> None:
        """Names every module of ``model``."""
        self.names.add_root(model)

    # Labels

    def _text(self, phase: Optional[str]) -> str:
        """The label of what belongs to no module, as JSON. Built by hand: `json.dumps` costs 4 µs."""
        return f'{{"phase":"{phase}",{self._end}' if phase is not None else "{" + self._end

    def _loss(self, phase: str) -> str:
        return self._loss_record.head(phase) + self._end

    def _refresh(self, record: Record) -> None:
        record.generation = self._generation
        record.forward = record.head("forward") + self._end
        record.hooks = None

    def _hooks_of(self, record: Record) -> dict[int, Callable[[Any], None]]:
        """What graph nodes of this module call, made when the first of a generation needs it."""
        if record.generation != self._generation:
            self._refresh(record)
        # One of its own each time: nodes of older steps keep theirs. No closure, whose cells the
        # garbage collector would have to look through for each module and step.
        record.hooks = {0: partial(self._reached, record.head("backward") + self._end)}
        return record.hooks

    def _reached(self, text: str, _gradient: Any) -> None:
        """The backward pass has reached a node of the module that ``text`` names."""
        tell = self._tell
        if tell is _ignore:
            return
        tell(text)
        state = self._local.state
        state.node = text
        task = self._graph_task()
        if task != state.task:
            state.task = task
            self._queue_reset()

    def _renew(self) -> None:
        """Step or micro-batch has changed: every label is made anew when it is next needed."""
        self._generation += 1
        micro = f',"micro_batch":{self.micro_batch}' if self.micro_batch else ""
        self._end = f'"step":{self.step}{micro}}}'

    def _queue_reset(self) -> None:
        """At the end of this backward pass its thread forgets the label: the next pass begins
        before any of our nodes is reached."""
        self.torch.autograd.Variable._execution_engine.queue_callback(self._reset)

    def _reset(self) -> None:
        state = self._local.state
        state.task = -1
        self._tell(state.current)
        self._passes += 1

    def _set(self, text: str) -> None:
        self._local.state.current = text
        self._tell(text)

    def current(self) -> dict[str, Any]:
        """What this thread is in, as far as it was told."""
        text = self._local.state.current
        get = getattr(self.torch._C, "_cuda_getMemoryMetadata", None)
        if get is not None and self.spans is None and self._tell is not _ignore:
            text = get() or text
        try:
            out = json.loads(text)
        except ValueError:
            return {}
        return out if isinstance(out, dict) else {}

    # Hooks on modules

    def _before_forward(self, module: Any, inputs: Any) -> None:
        if self._is_compiling():
            return
        try:
            state = self._local.state
            stack = state.stack
            parent = state.record
            if not stack:
                self._enter_root(state, inputs)
            record = self.names.records.get(id(module))
            if record is None:
                record = self.names.find(module, parent)
            if record.generation != self._generation:
                self._refresh(record)
            stack.append((state.node if state.recomputes and not stack else state.current, parent))
            state.record = record
            if state.recomputes:
                text = record.head("backward") + '"recompute":true,' + self._end
            else:
                text = record.forward
            state.current = text
            self._tell(text)
            if parent is not None:
                # What this module's input came from is reached when its own backward is over.
                hooked, tensor = state.hooked, self._tensor
                for part in inputs:
                    if isinstance(part, tensor):
                        node = part.grad_fn
                        if node is not None:
                            number = node._sequence_nr()
                            if number not in hooked:
                                hooked.add(number)
                                self._hook_node(node, parent, state.carrier)
                    elif part is not None:
                        self._hook(part, parent, hooked)
                forward = module.forward
                if getattr(forward, "__code__", None) is not record.code:
                    record.code, record.most = most_positional(forward)
                if len(inputs) != record.most:
                    keywords = call_keywords(2)
                    if keywords:
                        self._hook(keywords, parent, hooked)
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)

    def _after_forward(self, module: Any, _inputs: Any, output: Any) -> None:
        if self._is_compiling():
            return
        state = self._local.state
        stack = state.stack
        if not stack:
            return
        record = state.record
        text, state.record = stack.pop()
        if record is not None:
            try:
                if isinstance(output, self._tensor):
                    node = output.grad_fn
                    if node is not None:
                        number = node._sequence_nr()
                        hooked = state.hooked
                        if number not in hooked:
                            hooked.add(number)
                            self._hook_node(node, record, state.carrier)
                else:
                    self._hook(output, record, state.hooked)
            except Exception as problem:  # Ours must not become the program's.
                self._give_up(problem)
        if not stack and not state.recomputes:
            # What follows until the backward pass begins is the loss; without gradients there is
            # none, and only the step is known.
            text = self._loss("forward") if self.torch.is_grad_enabled() else self._text(None)
        state.current = "" if state.recomputes and not stack else text
        self._tell(text)

    def _enter_root(self, state: State, inputs: Any) -> None:
        state.recomputes = self._graph_task() >= 0
        if state.recomputes:
            return
        if self.on_activity is not None:
            self.on_activity()
        if self._step_is_over and not self.is_explicit:
            self.next_step()
        passes, self._passes = self._passes, 0
        if passes and not self._step_is_over:
            self.micro_batch += passes
            self._renew()
        if state.carrier is None:
            state.carrier = self._node_hooks.own_carrier()
        if len(state.hooked) > MAX_HOOKED:
            state.hooked.clear()
        if self._tell is not _ignore and self.torch.is_grad_enabled():
            self.batches.note(self.step, self.micro_batch, inputs, call_keywords(3))

    # Hooks on graph nodes

    def _hook(self, value: Any, record: Record, hooked: set[int]) -> None:
        """Has ``record`` named when the backward pass reaches what made the tensors in ``value``."""
        nodes = (value.grad_fn,) if isinstance(value, self._tensor) else nodes_of(value, self._tensor)
        for node in nodes:
            if node is not None:
                number = node._sequence_nr()
                if number not in hooked:
                    hooked.add(number)
                    self._hook_node(node, record)

    def _hook_node(self, node: Any, record: Record, carrier: Any = None) -> None:
        """``carrier`` is the calling thread's own, if it has one."""
        hooks = record.hooks
        if hooks is None or record.generation != self._generation:
            hooks = self._hooks_of(record)
        if carrier is None:
            self._attach(node, hooks)
        else:
            carrier._backward_hooks = hooks
            node._register_hook_dict(carrier)

    def _wrapped(self, name: str, plain: Callable[..., Any], is_compiling: Callable[[], bool]) -> Callable[..., Any]:
        """`torch.autograd.backward` or `grad`, told when it begins and ends. Calls it with what it was
        given."""

        @functools.wraps(plain)
        def labelled(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            # First of all: a compiler that traces this must find nothing of ours.
            if is_compiling():
                return plain(tensors, *args, **kwargs)
            before = self._before_backward(tensors)
            try:
                return plain(tensors, *args, **kwargs)
            finally:
                if before is not None:
                    # A penalty on gradients goes on with its loss; after `backward` nothing is known.
                    self._set(before if name == "grad" else self._text(None))

        return labelled

    def _before_backward(self, tensors: Any) -> Optional[str]:
        """The label to go back to; None where none was set. Never raises."""
        # A backward pass within one (reentrant checkpointing) belongs to the node that began it.
        if self._tell is _ignore or self._graph_task() >= 0:
            return None
        state = self._local.state
        before = state.current
        try:
            self._set(self._loss("backward"))
            if self.spans is not None:
                self._wait(tensors, threading.get_ident())
            self._hook(tensors, self._loss_record, state.hooked)
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)
        return before

    def _wait(self, tensors: Any, thread: int) -> None:
        """The thread that starts a backward pass waits while another runs it, from the first node on."""
        spans = self.spans
        assert spans is not None

        def hook(_gradient: Any) -> None:
            if threading.get_ident() != thread:
                spans.add_for("", thread)

        for node in nodes_of([tensors], self._tensor):
            if node is not None:
                self._attach(node, {0: hook})

    def _give_up(self, problem: Exception) -> None:
        self.detach()
        say(f"allocations are labelled no more: {type(problem).__name__}: {problem}")

    # Hooks on optimizers, and steps

    def _before_optimizer(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        try:
            self.optimizers.add(optimizer)
            if self.before_optimizer is not None:
                self.before_optimizer(optimizer)
            self._set(self._text("optimizer"))
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)

    def _after_optimizer(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        try:
            self._step_is_over = True
            if self.is_explicit:
                self._set(self._text(None))
                return
            # What comes now belongs to the next step, whose number its first forward makes current.
            self._set(f'{{"phase":"data","step":{self.step + 1}}}')
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)

    def next_step(self, step: Optional[int] = None) -> None:
        """A new step begins."""
        self.step = self.step + 1 if step is None else step
        self.micro_batch = 0
        self._passes = 0
        self._step_is_over = False
        self._renew()
        state = self._local.state
        state.hooked.clear()
        if not state.stack:
            self._set(self._text("data"))
        if self.on_step is not None:
            self.on_step(self.step)

    # Start and stop

    def begin(self) -> None:
        """CUDA has started: from now on there is an allocator to tell."""
        self._tell = self._set_metadata or self.spans.add  # type: ignore[union-attr]
        self._renew()
        current = self._local.state.current
        if current:
            self._tell(current)

    def attach(self) -> None:
        """Hooks into modules and optimizers."""
        autograd = self.torch.autograd
        # `grad` only where labels are joined by time: elsewhere its nodes' hooks say all.
        for name in ("backward",) if self.spans is None else ("backward", "grad"):
            plain = self._plain[name] = getattr(autograd, name)
            self._wrappers[name] = self._wrapped(name, plain, self._is_compiling)
            setattr(autograd, name, self._wrappers[name])
        self._node_hooks = NodeHooks(self.torch)
        self._attach = self._node_hooks.attach
        modules = self.torch.nn.modules.module
        self._handles.append(modules.register_module_forward_pre_hook(self._before_forward))
        options = {"always_call": True} if takes(modules.register_module_forward_hook, "always_call") else {}
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
        for name, plain in self._plain.items():
            if getattr(autograd, name) is self._wrappers[name]:
                # Else somebody wrapped ours: it stays, and only passes on.
                setattr(autograd, name, plain)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._tell is not _ignore:
            self._tell("")
        self._tell = _ignore
        self._local.state.current = ""


def _ignore(_text: str) -> None:
    """Tells nobody."""
