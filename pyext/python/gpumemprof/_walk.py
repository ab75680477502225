"""Which storage is which tensor: parameters, gradients, buffers and optimizer state by address."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from . import _native
from ._names import class_name

MAX_TENSORS = 1 << 18
"""Entries kept, at most, some 200 bytes each: those of the newest walks. What one walk finds beyond is left
out and counted."""
MAX_ROWS = 1 << 21
"""Rows of all different walks together, 8 bytes each: the oldest walks go."""
MAX_WALKS = 10_000
"""Walks kept: the newest."""

MAX_OPTIMIZERS = 20_000
"""Whose gradients are remembered: an optimizer for each parameter is not unusual."""

Entry = tuple[int, int, str, str]
"""A storage: device, address, category and name."""


class Rows:
    """What a walk found, as rows of the entries; walks that found the same share it."""

    __slots__ = ("rows", "uses")

    def __init__(self, rows: tuple[int, ...]) -> None:
        self.rows = rows
        self.uses = 0


class Walker:
    """Remembers which tensors were at which addresses when."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.left_out = 0
        self._entries: dict[Entry, int] = {}
        self._sets: dict[tuple[int, ...], Rows] = {}
        self._rows = 0
        """Rows of all sets together."""
        self._walks: deque[tuple[Optional[int], Rows]] = deque()
        self._names: dict[int, str] = {}
        self._root_name = ""
        self._last_gradients: dict[int, tuple[bytes, Rows]] = {}

    def walk(self, models: Iterable[Any], optimizers: Iterable[Any], *, now: bool) -> None:
        """Looks at everything. ``now``: the snapshot is being taken, so no time is needed."""
        start = time.time_ns()
        found = self._merge(self._everything(models, optimizers))
        self._keep(found, None if now else (start + time.time_ns()) // 2000)

    def walk_gradients(self, models: Iterable[Any], optimizer: Any) -> None:
        """Looks at the gradients alone, before an optimizer uses and frees them."""
        start = time.time_ns()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        # In a steady state each step's gradients are where the last step's were.
        places = _native.gradient_places(parameters)
        known = self._last_gradients.get(id(optimizer))
        if known is not None and places is not None and known[0] == places and known[1].uses:
            self._append((start + time.time_ns()) // 2000, known[1])
            return
        gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        names = self._names
        if not names:
            names.update(_parameter_names(models))
        found = self._merge((gradient, "gradient", names.get(id(parameter), "")) for parameter, gradient in gradients)
        # The middle of the walk: later than the last event of the backward pass, earlier than the
        # first of the optimizer.
        rows = self._keep(found, (start + time.time_ns()) // 2000)
        if places is not None:
            if len(self._last_gradients) > MAX_OPTIMIZERS:
                self._last_gradients.clear()
            self._last_gradients[id(optimizer)] = (places, rows)

    def _keep(self, found: list[Entry], time_us: Optional[int]) -> Rows:
        if len(found) > MAX_TENSORS:
            self.left_out += len(found) - MAX_TENSORS
            found = found[:MAX_TENSORS]
        if len(self._entries) + len(found) > MAX_TENSORS:
            self._make_room(MAX_TENSORS - len(found))
        entries = self._entries
        rows = tuple([entries.setdefault(entry, len(entries)) for entry in found])
        if time_us is None:
            # Of the moment of an earlier snapshot, whose sidecar is written.
            for walk in [walk for walk in self._walks if walk[0] is None]:
                self._walks.remove(walk)
                self._release(walk[1])
        kept = self._sets.get(rows)
        if kept is None:
            kept = self._sets[rows] = Rows(rows)
            self._rows += len(rows)
        self._append(time_us, kept)
        return kept

    def _append(self, time_us: Optional[int], rows: Rows) -> None:
        rows.uses += 1
        self._walks.append((time_us, rows))
        while len(self._walks) > MAX_WALKS or (self._rows > MAX_ROWS and len(self._walks) > 1):
            self._release(self._walks.popleft()[1])

    def _release(self, rows: Rows) -> None:
        rows.uses -= 1
        if rows.uses == 0:
            del self._sets[rows.rows]
            self._rows -= len(rows.rows)

    def _make_room(self, most: int) -> None:
        """Forgets entries that no walk has, and the oldest walks, until half of ``most`` are left."""
        while True:
            used = sorted({row for rows in self._sets for row in rows})
            if len(used) <= most // 2 or not self._walks:
                break
            for _ in range((len(self._walks) + 1) // 2):
                self._release(self._walks.popleft()[1])
        entries = list(self._entries)
        places = {row: at for at, row in enumerate(used)}
        self._entries = {entries[row]: at for at, row in enumerate(used)}
        self._sets = {}
        for rows in {id(rows): rows for _, rows in self._walks}.values():
            rows.rows = tuple([places[row] for row in rows.rows])
            self._sets[rows.rows] = rows

    def _merge(self, tensors: Iterable[tuple[Any, str, str]]) -> list[Entry]:
        """One entry per storage: views into one bucket share it, and what their names share."""
        merged: dict[tuple[int, int], tuple[str, str]] = {}
        for tensor, category, name in tensors:
            place = self._place(tensor)
            if place is None:
                continue
            known = merged.get(place)
            if known is None:
                merged[place] = (category, name)
            elif known[1] != name:
                merged[place] = (known[0], _common(known[1], name))
        return [(device, address, category, name) for (device, address), (category, name) in merged.items()]

    def _place(self, tensor: Any) -> Optional[tuple[int, int]]:
        tensor = getattr(tensor, "_local_tensor", tensor)
        if not isinstance(tensor, self.torch.Tensor) or tensor.device.type != "cuda":
            return None
        try:
            address = tensor.untyped_storage().data_ptr()
        except Exception:  # A fake, lazy or wrapper tensor has no storage to point to.
            return None
        return (tensor.device.index or 0, address) if address else None

    def _everything(self, models: Iterable[Any], optimizers: Iterable[Any]) -> Iterator[tuple[Any, str, str]]:
        models = list(models)
        self._root_name = class_name(models[0]) if models else ""
        names = _parameter_names(models)
        self._names = names
        for model in models:
            for name, parameter in model.named_parameters():
                name = _plain(name)
                yield parameter, "parameter", name
                if parameter.grad is not None:
                    yield parameter.grad, "gradient", name
            for name, buffer in model.named_buffers():
                yield buffer, "buffer", _plain(name)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in names:
                        yield parameter, "parameter", ""
                        if parameter.grad is not None:
                            yield parameter.grad, "gradient", ""
            for parameter, state in list(optimizer.state.items()):
                name = names.get(id(parameter), "")
                for key, tensor in _tensors(self.torch, state):
                    yield tensor, "optimizer_state", f"{name}.{key}" if name else key

    def frozen(self) -> Walks:
        """What is known now, to be written later while the program goes on."""
        walks = [(time_us, rows.rows) for time_us, rows in self._walks]
        return Walks(list(self._entries), walks, self._root_name)


class Walks:
    """Walks as they were when the snapshot was taken."""

    def __init__(
        self, entries: list[Entry], walks: list[tuple[Optional[int], tuple[int, ...]]], root_name: str
    ) -> None:
        self._entries = entries
        self._walks = walks
        self._root_name = root_name

    def document(self, oldest_us: Optional[int] = None) -> dict[str, Any]:
        """The keys ``tensors``, ``tensor_sets`` and ``walks`` of a sidecar. Of the walks before
        ``oldest_us``, the time of the snapshot's oldest event, only the newest says anything about it."""
        walks = self._walks
        if oldest_us is not None:
            before = [at for at, (time_us, _) in enumerate(walks) if time_us is not None and time_us < oldest_us]
            unused = set(before[:-1])
            walks = [walk for at, walk in enumerate(walks) if at not in unused]
        numbers: dict[tuple[int, ...], int] = {}
        looks = [{"time_us": time_us, "set": numbers.setdefault(rows, len(numbers))} for time_us, rows in walks]
        used = sorted({row for rows in numbers for row in rows})
        places = {row: at for at, row in enumerate(used)}
        return {
            "tensors": [self._tensor(self._entries[row]) for row in used],
            "tensor_sets": [[places[row] for row in rows] for rows in numbers],
            "walks": looks,
        }

    def _tensor(self, entry: Entry) -> dict[str, Any]:
        device, address, category, name = entry
        parts = name.split(".")
        cut = -2 if category == "optimizer_state" else -1
        return {
            "device": device,
            "address": address,
            "category": category,
            # What the model itself owns is labelled as its own operations are: by its class.
            "module": ".".join(parts[:cut]) or (self._root_name if name else ""),
            "name": name,
        }


def _parameter_names(models: Iterable[Any]) -> dict[int, str]:
    return {id(parameter): _plain(name) for model in models for name, parameter in model.named_parameters()}


_WRAPPER_PARTS = frozenset(["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module"])


def _plain(name: str) -> str:
    """A parameter's name without the parts that wrappers put in."""
    parts = [part for part in name.split(".") if part not in _WRAPPER_PARTS]
    if parts and parts[0] == "module" and len(parts) > 1:
        parts = parts[1:]
    return ".".join(parts)


def _common(first: str, second: str) -> str:
    """The parts at the front that two names share, with a part for what they do not."""
    shared = []
    for one, other in zip(first.split("."), second.split(".")):
        if one != other:
            break
        shared.append(one)
    return ".".join([*shared, "*"])


def _tensors(torch: Any, state: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if not isinstance(state, dict) or depth > 3:
        return
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            yield str(key), value
        elif isinstance(value, dict):
            for inner, tensor in _tensors(torch, value, depth + 1):
                yield f"{key}.{inner}", tensor
        elif isinstance(value, (list, tuple)):
            for tensor in value[:64]:
                if isinstance(tensor, torch.Tensor):
                    yield str(key), tensor
