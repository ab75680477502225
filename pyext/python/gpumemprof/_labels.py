"""What runs now, told to PyTorch: module, phase, step and micro-batch of every allocation.

Nothing here may change what is measured. A label is set before and after each module. For the backward
pass the forward's identity is carried over: the graph nodes that leave and enter a module get a hook that
sets the label when the engine reaches them. Full-backward hooks are never used, as they insert nodes and
copies into the graph and raise the peak. What runs for every module call and graph node is native
(`_native.Labeller`); here is what runs once a step.
"""

from __future__ import annotations

import functools
import importlib
import json
import types
import weakref
from threading import get_ident
from typing import Any, Callable, Optional

from . import _native
from ._batches import Batches
from ._cycle import Cycle
from ._files import say
from ._names import Names, Record
from ._nodes import NodeHooks
from ._torch import compiling_check, tracing_check


class ModuleCalls:
    """Stands where `torch.nn.Module._wrapped_call_impl` looks for the compiled form of a module, and gives
    a call that labels. A module that has a compiled form keeps it.

    A global hook would do too, but takes PyTorch's slower path for every module call (2.8 µs), adds a
    frame to every stack that is recorded, and is traced by compilers. To a compiler this is not there.
    """

    def __init__(self, labeller: _native.Labeller, is_traced: Callable[[], bool]) -> None:
        self._labeller = labeller
        self._is_traced = is_traced

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if self._is_traced() or module is None:
            return None
        return _bound(self._labeller, module)


_bound = types.MethodType


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
        self.is_joined_by_time = set_metadata is None
        """Whether labels are kept with their times, as this PyTorch's events carry none."""
        self.step = 0
        self.micro_batch = 0
        self.is_explicit = False
        """Whether the program numbers its steps itself."""
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.names = Names()
        self.batches = Batches(torch, self.names.records)
        self.cycle = Cycle()
        self.before_optimizer: Optional[Callable[[Any], None]] = None
        self.on_step: Optional[Callable[[int], None]] = None
        self.on_activity: Optional[Callable[[], None]] = None
        self._passes = 0
        """Backward passes since the last forward."""
        self._end = '"step":0}'
        """How every label ends until step or micro-batch change."""
        self._loss_record = Record(None, "(loss)", {})
        """Stands for what lies between the model's outputs and the start of the backward pass."""
        self._set_metadata = set_metadata
        self._get_metadata = getattr(torch._C, "_cuda_getMemoryMetadata", None)
        self._in_backward: set[int] = set()
        """Threads that wait for a backward pass."""
        self._interrupted: dict[int, tuple[str, Optional[str]]] = {}
        """What threads were in before an optimizer that steps within their backward pass."""
        self._plain: dict[str, Any] = {}
        """`torch.autograd.backward` and `grad` as they were."""
        self._wrappers: dict[str, Any] = {}
        self._plain_call: Any = None
        self._module_calls: Optional[ModuleCalls] = None
        self._handles: list[Any] = []
        self._node_hooks = NodeHooks(torch)
        self._graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)
        self._is_compiling = compiling_check(torch)
        self.native = _native.Labeller(
            owner=self,
            torch=torch,
            records=self.names.records,
            node_hooks=self._node_hooks,
            set_metadata=set_metadata,
            span_capacity=span_capacity,
        )
        if model is not None:
            self.add_root(model)

    # Names

    def add_root(self, model: Any) -> None:
        """Names every module of ``model``."""
        self.names.add_root(model)

    # Labels

    def _text(self, phase: Optional[str]) -> str:
        """The label of what belongs to no module, as JSON. Built by hand: `json.dumps` costs 4 µs."""
        return f'{{"phase":"{phase}",{self._end}' if phase is not None else "{" + self._end

    def _loss(self, phase: str) -> str:
        return f'{self._loss_record.head},"phase":"{phase}",{self._end}'

    def _renew(self) -> None:
        """Step or micro-batch has changed: every label is made anew when it is next needed."""
        micro = f',"micro_batch":{self.micro_batch}' if self.micro_batch else ""
        self._end = f'"step":{self.step}{micro}}}'
        self.native.renew(self._end)

    def current(self) -> dict[str, Any]:
        """What this thread is in, as far as it was told."""
        text = self.native.current
        if self._get_metadata is not None and not self.is_joined_by_time and self.native.is_telling:
            text = self._get_metadata() or text
        try:
            out = json.loads(text)
        except ValueError:
            return {}
        return out if isinstance(out, dict) else {}

    # Called by the native half

    def _find(self, module: Any, parent: Optional[Record]) -> Record:
        """The record of a module not seen before, called by ``parent``."""
        return self.names.find(module, parent)

    def _enter_outermost(self, inputs: Any, keywords: Optional[dict[str, Any]]) -> None:
        """A thread enters a module from outside of any, in a forward pass of its own."""
        if self.on_activity is not None:
            self.on_activity()
        if self.cycle.is_over and not self.is_explicit:
            self.next_step()
        passes, self._passes = self._passes, 0
        if passes and not self.cycle.is_over:
            self.micro_batch += passes
            self._renew()
        if self.native.is_telling:
            self.batches.note(self.step, self.micro_batch, inputs, keywords, self.torch.is_grad_enabled())

    def _leave_outermost(self, has_output: bool) -> str:
        """The label of what follows: until the backward pass begins it is the loss; after a failure and
        without gradients there is none, and only the step is known."""
        return self._loss("forward") if has_output and self.torch.is_grad_enabled() else self._text(None)

    def _queue_reset(self) -> None:
        """At the end of this backward pass its thread forgets the label: the next pass begins
        before any of our nodes is reached."""
        self.torch.autograd.Variable._execution_engine.queue_callback(self._reset)

    def _reset(self) -> None:
        self.native.end_pass()
        self._passes += 1

    def _give_up(self, problem: BaseException) -> None:
        self.detach()
        say(f"allocations are labelled no more: {type(problem).__name__}: {problem}")

    # Hooks on backward passes

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
                    self._in_backward.discard(get_ident())
                    # A penalty on gradients goes on with its loss; after `backward` nothing is known.
                    self.native.set(before if name == "grad" else self._text(None))

        return labelled

    def _before_backward(self, tensors: Any) -> Optional[str]:
        """The label to go back to; None where none was set. Never raises."""
        # A backward pass within one (reentrant checkpointing) belongs to the node that began it.
        if not self.native.is_telling or self._graph_task() >= 0:
            return None
        before = self.native.current
        self._in_backward.add(get_ident())
        try:
            self.native.set(self._loss("backward"))
            if self.is_joined_by_time:
                self._wait(tensors)
            self.native.hook(tensors, self._loss_record)
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)
        return before

    def _wait(self, tensors: Any) -> None:
        """The thread that starts a backward pass waits while another runs it, from the first node on."""
        native = self.native
        thread = native.thread

        def hook(_gradient: Any) -> None:
            if native.thread != thread:
                native.lose(thread)

        for node in native.nodes(tensors):
            self._node_hooks.attach(node, {0: hook})

    # Hooks on optimizers, and steps

    def _before_optimizer(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        try:
            self.optimizers.add(optimizer)
            if self.before_optimizer is not None:
                self.before_optimizer(optimizer)
            is_in_backward = self._graph_task() >= 0
            if self.cycle.note(optimizer, is_in_backward) and not self.is_explicit:
                self.next_step()
            if is_in_backward:
                # The pass goes on afterwards, in a label that the native half told.
                told = self._get_metadata() if self._set_metadata is not None and self._get_metadata else None
                self._interrupted[get_ident()] = (self.native.current, told)
            self.native.set(self._text("optimizer"))
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)

    def _after_optimizer(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if self._is_compiling():
            return
        try:
            before = self._interrupted.pop(get_ident(), None) if self._interrupted else None
            if before is not None:
                current, told = before
                self.native.set(current)
                if told and self._set_metadata is not None and self.native.is_telling:
                    self._set_metadata(told)
                return
            if self.is_explicit or not self.cycle.is_over:
                self.native.set(self._text(None))
                return
            # What comes now belongs to the next step, whose number its first forward makes current.
            self.native.set(f'{{"phase":"data","step":{self.step + 1}}}')
        except Exception as problem:  # Ours must not become the program's.
            self._give_up(problem)

    # Out-of-memory errors

    def thread_of_error(self, is_python_thread: bool) -> Optional[int]:
        """Whose work fails in the calling thread: in one of autograd's own it is that of the thread that waits
        for the backward pass, if it is the only one."""
        if is_python_thread:
            return get_ident()
        waiting = list(self._in_backward)
        return waiting[0] if len(waiting) == 1 else None

    def note_failure(self, thread: Optional[int]) -> None:
        """What ``thread`` does has failed, and may be tried again."""
        known = self.batches.threads.get(thread) if thread is not None else None
        if known is not None and known.is_training:
            self.batches.forget_attempt()

    def next_step(self, step: Optional[int] = None) -> None:
        """A new step begins."""
        self.step = self.step + 1 if step is None else step
        self.micro_batch = 0
        self._passes = 0
        self.cycle.begin()
        self._renew()
        self.native.forget_nodes()
        if not self.native.is_inside:
            self.native.set(self._text("data"))
        if self.on_step is not None:
            self.on_step(self.step)

    # Start and stop

    def begin(self) -> None:
        """CUDA has started: from now on there is an allocator to tell."""
        self._renew()
        self.native.begin()

    def attach(self) -> None:
        """Hooks into modules and optimizers."""
        autograd = self.torch.autograd
        # `grad` only where labels are joined by time: elsewhere its nodes' hooks say all.
        for name in ("backward", "grad") if self.is_joined_by_time else ("backward",):
            plain = self._plain[name] = getattr(autograd, name)
            self._wrappers[name] = self._wrapped(name, plain, self._is_compiling)
            setattr(autograd, name, self._wrappers[name])
        module = self.torch.nn.Module
        self._plain_call = module._compiled_call_impl
        self._module_calls = ModuleCalls(self.native, tracing_check(self.torch))
        module._compiled_call_impl = self._module_calls
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
        self.native.end_silently()
        self.detach()

    def detach(self) -> None:
        """Stops labelling; nodes hooked so far keep their hooks until their graph is gone."""
        autograd = self.torch.autograd
        for name, plain in self._plain.items():
            if getattr(autograd, name) is self._wrappers[name]:
                # Else somebody wrapped ours: it stays, and only passes on.
                setattr(autograd, name, plain)
        module = self.torch.nn.Module
        if vars(module).get("_compiled_call_impl") is self._module_calls:
            module._compiled_call_impl = self._plain_call
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.native.end()
