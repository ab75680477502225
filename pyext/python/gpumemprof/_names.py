"""The modules' names, and the labels made of them."""

from __future__ import annotations

import json
import weakref
from typing import Any, Optional

from . import _native

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

COMMUNICATORS = frozenset(["DistributedDataParallel", "FullyShardedDataParallel"])
"""Wrappers that compute nothing: what they allocate themselves are buffers to communicate through
(buckets of gradients, gathered parameters)."""


def class_name(model: Any) -> str:
    """The class of a model; of what was compiled where it is a compiler's wrapper."""
    while type(model).__name__ == "OptimizedModule" and len(model._modules) == 1:
        (inner,) = model._modules.values()
        if inner is None:
            break
        model = inner
    return type(model).__name__


class Record(_native.Label):
    """One module: its name, and what its labels say of it."""

    __slots__ = ("extra", "head", "name", "ref")

    def __init__(self, ref: Optional[weakref.ref[Any]], name: str, extra: dict[str, Any]) -> None:
        self.ref = ref
        self.name = name
        self.extra = extra
        self.renew()

    def renew(self) -> None:
        """What the record says has changed."""
        self.head = json.dumps({"module": self.name, **self.extra}, separators=(",", ":"))[:-1]
        """How the module's labels begin: JSON without its end."""
        self.describe(self.head)


class Names:
    """Every module that was seen, with its full name."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        """By the module's id."""
        self.roots: list[weakref.ref[Any]] = []

    def add_root(self, model: Any) -> None:
        """Names every module of ``model``."""
        prefix = ""
        # A loss module that is made for every step would make this list as long as the training.
        self.roots[:] = [root for root in self.roots if root() is not None]
        known = [root() for root in self.roots]
        if any(root is not None for root in known):
            inside = {id(module) for module in model.modules()}
            contains_first = known[0] is not None and id(known[0]) in inside
            prefix = "" if contains_first else class_name(model)
        if prefix == "":
            self.roots.insert(0, weakref.ref(model))
        else:
            self.roots.append(weakref.ref(model))
        self._name(model, prefix, class_name(model))

    def _name(self, module: Any, path: str, root: str) -> None:
        pending = [(module, path, "")]
        seen: set[int] = set()
        while pending:
            module, path, wrapper = pending.pop()
            if id(module) in seen:
                record = self.records[id(module)]
                shared = record.extra.setdefault("shared", [])
                if len(shared) < 8:
                    shared.append(path)
                    record.renew()
                continue
            seen.add(id(module))
            kind = type(module).__name__
            is_wrapper = kind in WRAPPERS or kind.startswith("FSDP")
            extra = {"wrapper": kind} if is_wrapper else {}
            if kind in COMMUNICATORS:
                extra["category"] = "workspace"
            self._add(module, path or root, extra)
            # `named_children` gives a module that has two names under the first only.
            children = [(name, child) for name, child in module._modules.items() if child is not None]
            passes_through = kind in WRAPPERS and len(children) == 1
            for name, child in reversed(children):
                inner = path if passes_through else f"{path}.{name}" if path else name
                pending.append((child, inner, kind))

    def _add(self, module: Any, name: str, extra: dict[str, Any]) -> Record:
        key = id(module)
        records = self.records

        def forget(_: Any) -> None:
            records.pop(key, None)

        record = Record(weakref.ref(module, forget), name, extra)
        records[key] = record
        return record

    def find(self, module: Any, parent: Optional[Record]) -> Record:
        """The record of a module not seen before."""
        if parent is not None:
            if _is_compiled(module):
                # What a compiler made of the parent, or of a part of it, as a whole.
                return self._add(module, parent.name, {**parent.extra, "compiled": True})
            return self._add(module, f"{parent.name}.{type(module).__name__}", {})
        self.add_root(module)
        return self.records[id(module)]

    def models(self) -> list[Any]:
        """The outermost modules that are still there."""
        return [model for model in (root() for root in self.roots) if model is not None]


def _is_compiled(module: Any) -> bool:
    return any(kind.__module__ == "torch.fx.graph_module" for kind in type(module).__mro__)
