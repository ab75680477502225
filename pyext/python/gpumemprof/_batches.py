"""The batches that went into the model, as shapes."""

from __future__ import annotations

import dataclasses
from collections import UserDict, deque
from collections.abc import Iterator
from typing import Any, Optional

MAX_SHAPES = 16
"""Tensors of one batch that are told."""
MAX_DEPTH = 4


class Batches:
    """The newest forward passes of whole models."""

    def __init__(self, torch: Any) -> None:
        self._tensor = torch.Tensor
        self._torch = torch
        self._noted: Optional[tuple[int, int]] = None
        self._last_key: Optional[list[tuple[Any, Any]]] = None
        self._last_shapes: list[str] = []
        self._entries: deque[tuple[int, int, list[str], dict[str, int]]] = deque(maxlen=64)

    def note(self, step: int, micro_batch: int, inputs: Any, keywords: Any) -> None:
        """A pass begins; only the first of a micro-batch is kept."""
        if self._noted == (step, micro_batch):
            return
        self._noted = (step, micro_batch)
        self._entries.append((step, micro_batch, self._shapes(inputs, keywords), self._allocated()))

    def _shapes(self, inputs: Any, keywords: Any) -> list[str]:
        """`shapes`, put into words once where one batch is like the last."""
        tensor = self._tensor
        if keywords or len(inputs) > MAX_SHAPES or any(type(value) is not tensor for value in inputs):
            return shapes(inputs, keywords, tensor)
        key = [(value.shape, value.dtype) for value in inputs]
        if key != self._last_key:
            self._last_key, self._last_shapes = key, shapes(inputs, keywords, tensor)
        return self._last_shapes

    def _allocated(self) -> dict[str, int]:
        """Allocated bytes of the current device: the counters of all would cost too much a step."""
        device = self._torch.cuda.current_device()
        statistics = self._torch._C._cuda_memoryStats(device)
        return {str(device): statistics["allocated_bytes"]["all"]["current"]}

    def document(self) -> list[dict[str, Any]]:
        """The newest passes, for a sidecar."""
        return [
            {"step": step, "micro_batch": micro, "inputs": inputs, "allocated_bytes": allocated}
            for step, micro, inputs, allocated in self._entries
        ]


def shapes(inputs: Any, keywords: Any, tensor: Any) -> list[str]:
    """Shapes and types of the tensors in a module's arguments: ``(8, 512)int64``, or with the name
    that a keyword, a dictionary or a data class gives: ``input_ids (8, 512)int64``."""
    out: list[str] = []
    for name, value in _tensors("", [list(inputs), keywords], tensor, 0):
        shape = f"{tuple(value.shape)}{str(value.dtype).rpartition('.')[2]}"
        out.append(f"{name} {shape}" if name else shape)
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
