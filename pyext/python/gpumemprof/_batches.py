"""The batches that went into the models, as shapes."""

from __future__ import annotations

import dataclasses
import sys
import time
import weakref
from collections import UserDict, deque
from collections.abc import Iterator
from threading import get_ident
from typing import Any, Optional

MAX_SHAPES = 16
"""Tensors of one batch that are told."""
MAX_DEPTH = 4
MAX_PASSES = 8
"""Forward passes told of one micro-batch: the newest."""
MAX_THREADS = 256
LEAST_INTERVAL_S = 0.02
"""Of micro-batches that follow each other faster, not each has its allocated bytes told: PyTorch's counters cost
some 40 µs."""

Shapes = list[tuple[str, Any, Any]]
"""Name, shape and type of each tensor. No tensor: that would live longer for it."""
Pass = tuple[Optional["weakref.ref[Any]"], Shapes]
"""The outermost module, and what went into it."""


class Begun:
    """A micro-batch of a training, as its first forward pass found it."""

    __slots__ = ("allocated", "micro_batch", "passes", "step")

    def __init__(self, step: int, micro_batch: int, allocated: dict[str, int]) -> None:
        self.step = step
        self.micro_batch = micro_batch
        self.allocated = allocated
        self.passes: list[Pass] = []


class ThreadPasses:
    """What one thread's forward passes were given since its last backward pass or step."""

    __slots__ = ("is_cut", "is_training", "of", "passes")

    def __init__(self, of: tuple[int, int]) -> None:
        self.of = of
        self.passes: deque[Pass] = deque(maxlen=MAX_PASSES)
        self.is_cut = False
        """Whether there were more than are kept."""
        self.is_training = False
        """Whether the newest is with gradients."""


class Batches:
    """The newest forward passes of outermost modules: of each thread, and where steps began."""

    def __init__(self, torch: Any, records: dict[int, Any]) -> None:
        self._tensor = torch.Tensor
        self._module = torch.nn.Module
        self._torch = torch
        self._records = records
        self.threads: dict[int, ThreadPasses] = {}
        """By the thread's identity."""
        self._noted: Optional[tuple[int, int]] = None
        self._begun: deque[Begun] = deque(maxlen=64)
        self._counted_s = -LEAST_INTERVAL_S

    def note(self, step: int, micro_batch: int, inputs: Any, keywords: Any, is_training: bool) -> None:
        """A pass of an outermost module begins in this thread; its call is two frames up."""
        now = (step, micro_batch)
        thread = get_ident()
        mine = self.threads.get(thread)
        if mine is None:
            if len(self.threads) > MAX_THREADS:
                self.threads.clear()
            mine = self.threads[thread] = ThreadPasses(now)
        elif mine.of != now:
            mine.of = now
            mine.passes.clear()
            mine.is_cut = False
        elif len(mine.passes) == MAX_PASSES:
            mine.is_cut = True
        mine.is_training = is_training
        # The native half that is called between them adds no frame.
        caller = sys._getframe(2).f_locals.get("self")
        this = weakref.ref(caller) if isinstance(caller, self._module) else None
        passed = (this, self._shapes(inputs, keywords))
        mine.passes.append(passed)
        if is_training:
            if self._noted != now:
                self._noted = now
                self._begun.append(Begun(step, micro_batch, self._allocated()))
            passes = self._begun[-1].passes
            if len(passes) < MAX_PASSES:
                passes.append(passed)

    def forget_attempt(self) -> None:
        """The micro-batch failed: another attempt at it is noted as if it were the first."""
        if self._noted is not None and self._begun:
            self._begun.pop()
        self._noted = None
        self._counted_s = -LEAST_INTERVAL_S

    def _shapes(self, inputs: Any, keywords: Any) -> Shapes:
        tensor = self._tensor
        if keywords or len(inputs) > MAX_SHAPES or any(type(value) is not tensor for value in inputs):
            return found(inputs, keywords, tensor)
        return [("", value.shape, value.dtype) for value in inputs]

    def _allocated(self) -> dict[str, int]:
        """Allocated bytes of the current device: the counters of all would cost too much a step. Empty if they were
        asked for a moment ago."""
        now = time.monotonic()
        if now - self._counted_s < LEAST_INTERVAL_S:
            return {}
        self._counted_s = now
        device = self._torch.cuda.current_device()
        statistics = self._torch._C._cuda_memoryStats(device)
        return {str(device): statistics["allocated_bytes"]["all"]["current"]}

    def document(self) -> list[dict[str, Any]]:
        """The newest micro-batches, for a sidecar: ``inputs`` of the first pass, ``passes`` of all."""
        return [
            {
                "step": begun.step,
                "micro_batch": begun.micro_batch,
                "inputs": words(begun.passes[0][1]) if begun.passes else [],
                "passes": [self._told(passed) for passed in begun.passes],
                "allocated_bytes": begun.allocated,
            }
            for begun in list(self._begun)
        ]

    def current(self, thread: Optional[int], is_inside: bool) -> Optional[dict[str, Any]]:
        """What went into the model that ``thread`` runs: the newest pass where it is in one, else all since its
        last backward pass or step. None where that is not known."""
        mine = self.threads.get(thread) if thread is not None else None
        if mine is None or not mine.passes or (mine.is_cut and not is_inside):
            return None
        told = [self._told(passed) for passed in list(mine.passes)]
        if is_inside:
            told = told[-1:]
        different = [one for at, one in enumerate(told) if one not in told[:at]]
        return {"is_training": mine.is_training, "passes": different}

    def _told(self, passed: Pass) -> dict[str, Any]:
        ref, shapes = passed
        module = ref() if ref is not None else None
        record = self._records.get(id(module)) if module is not None else None
        return {"module": None if record is None else record.name, "inputs": words(shapes)}


def at_failure(
    batches: list[dict[str, Any]], current: dict[str, Any], inputs: Optional[dict[str, Any]]
) -> list[dict[str, Any]]:
    """``batches`` as told beside a failure: ``inputs`` are of the module that ran then, in all of them. Where that
    is not known, the step that failed has none."""
    step = current.get("step")
    if inputs is None:
        return [one for one in batches if one["step"] != step]
    # Of several since the last backward pass the first is the model; what follows are losses.
    main = inputs["passes"][0]
    if not inputs["is_training"]:
        only = {"step": step, "micro_batch": current.get("micro_batch", 0), "allocated_bytes": {}}
        return [] if step is None else [{**only, "inputs": main["inputs"], "passes": inputs["passes"]}]
    out = []
    for one in batches:
        fed = [passed["inputs"] for passed in one["passes"] if passed["module"] == main["module"] is not None]
        out.append({**one, "inputs": fed[0] if fed and all(other == fed[0] for other in fed) else []})
    if out and out[-1]["step"] == step:
        out[-1]["inputs"] = main["inputs"]
    return out


def words(shapes: Shapes) -> list[str]:
    """``(8, 512)int64``, or with the name that a keyword, a dictionary or a data class gives:
    ``input_ids (8, 512)int64``."""
    out = []
    for name, shape, dtype in shapes:
        text = f"{tuple(shape)}{str(dtype).rpartition('.')[2]}"
        out.append(f"{name} {text}" if name else text)
    return out


def found(inputs: Any, keywords: Any, tensor: Any) -> Shapes:
    """Shapes and types of the tensors in a module's arguments."""
    out: Shapes = []
    for name, value in _tensors("", [list(inputs), keywords], tensor, 0):
        out.append((name, value.shape, value.dtype))
        if len(out) == MAX_SHAPES:
            break
    return out


def _tensors(name: str, value: Any, tensor: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """The tensors in ``value``. Only containers whose items cost nothing are looked into: reading
    them must not run code of the program."""
    if isinstance(value, tensor):
        yield name, value
        return
    if depth > MAX_DEPTH:
        return
    if isinstance(value, UserDict):
        value = value.data
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else str(key), part) for key, part in list(value.items())[:64]]
    elif isinstance(value, (list, tuple)):
        parts = [(name, part) for part in value[:64]]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = getattr(value, "__dict__", {})
        fields = [field.name for field in dataclasses.fields(value)][:64]
        parts = [(f"{name}.{field}" if name else field, held.get(field)) for field in fields]
    else:
        return
    for inner, part in parts:
        yield from _tensors(inner, part, tensor, depth + 1)
