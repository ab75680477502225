"""What this PyTorch can do, found out by looking, never by its version number."""

from __future__ import annotations

import inspect
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ._native import RecordingError


@dataclass
class Support:
    """What can be recorded here, and what cannot and why."""

    torch: Any
    can_record: bool = False
    has_device: bool = False
    """Whether there is a CUDA device, recorded or not."""
    set_metadata: Optional[Any] = None
    """``torch._C._cuda_setMemoryMetadata`` (PyTorch 2.10), or None."""
    get_metadata: Optional[Any] = None
    parameters: frozenset[str] = frozenset()
    """The keyword arguments of ``_record_memory_history``."""
    missing: list[str] = field(default_factory=list)
    """Sentences on what this PyTorch, build or machine does not give."""

    @property
    def version(self) -> str:
        return str(self.torch.__version__)


def support() -> Support:
    """Looks at the PyTorch that is there. Never starts CUDA where there is none."""
    try:
        import torch
    except ImportError as problem:
        raise RecordingError("PyTorch is not installed here, so there is nothing to record") from problem
    out = Support(torch)
    record = getattr(getattr(torch.cuda, "memory", None), "_record_memory_history", None)
    if not hasattr(torch._C, "_cuda_record_memory_history") or record is None:
        built = "Apple's MPS" if _is_mps(torch) else "no CUDA or ROCm"
        out.missing.append(
            f"this PyTorch ({torch.__version__}) is built for {built}: it has no CUDA caching "
            "allocator whose history could be recorded"
        )
        out.has_device = bool(torch.version.cuda) and _has_device(torch)
        return out
    if not _has_device(torch):
        out.missing.append("no CUDA device is available to this process (torch.cuda.is_available() is False)")
        return out
    out.has_device = True
    backend = _backend(torch)
    if backend not in ("native", None):
        out.missing.append(
            f"the allocator backend is {backend}, which keeps no history: only the native backend does "
            "(PYTORCH_CUDA_ALLOC_CONF=backend:native)"
        )
        return out
    out.can_record = True
    out.parameters = frozenset(inspect.signature(record).parameters)
    setter = getattr(torch._C, "_cuda_setMemoryMetadata", None)
    if setter is None:
        out.missing.append(
            "allocations cannot be labelled in this PyTorch (_set_memory_metadata came with 2.10): "
            "modules and phases are joined by time instead"
        )
    else:
        out.set_metadata = setter
        out.get_metadata = getattr(torch._C, "_cuda_getMemoryMetadata", None)
    return out


def _has_device(torch: Any) -> bool:
    """Whether there is a device, found out without starting CUDA where that is possible: a process
    that has asked the driver itself can no longer fork children that use CUDA."""
    if torch.cuda.is_initialized():
        return True
    count = getattr(torch.cuda, "_device_count_nvml", None)
    try:
        number = count() if count is not None else -1
    except Exception:  # Its own fallbacks vary by version; the question below is the plain one.
        number = -1
    if number >= 0:
        return bool(number > 0)
    return bool(torch.cuda.is_available())


def _is_mps(torch: Any) -> bool:
    mps = getattr(getattr(torch, "backends", None), "mps", None)
    return sys.platform == "darwin" and mps is not None and mps.is_available()


def _backend(torch: Any) -> Optional[str]:
    get = getattr(torch.cuda, "get_allocator_backend", None) or getattr(
        torch.cuda.memory, "get_allocator_backend", None
    )
    try:
        return str(get()) if get is not None else None
    except RuntimeError:
        return None


def is_recording(torch: Any) -> bool:
    """Whether somebody records already. Only once CUDA has started: PyTorch 2.15 crashes before."""
    check = getattr(torch._C, "_cuda_isHistoryEnabled", None)
    try:
        return bool(check()) if check is not None else False
    except RuntimeError:
        return False


def start_history(found: Support, *, max_entries: int, stacks: str, skip_actions: list[str]) -> None:
    """Starts PyTorch's recording, with those options that this version knows."""
    wanted: dict[str, Any] = {
        "enabled": "all",
        "context": "all",
        "stacks": stacks,
        "max_entries": max_entries,
        # In the main thread annotations of that thread and of its backward passes are enough: those of all threads
        # cost two allocations for each operation of a backward pass (`benches/overhead.md`).
        "global_record_annotations": threading.current_thread() is not threading.main_thread(),
    }
    if skip_actions:
        wanted["skip_actions"] = skip_actions
    known = {name: value for name, value in wanted.items() if name in found.parameters}
    if skip_actions and "skip_actions" not in known:
        found.missing.append("every action is recorded: skip_actions came with PyTorch 2.11")
    found.torch.cuda.memory._record_memory_history(**known)


def stop_history(found: Support) -> None:
    """Stops PyTorch's recording, which forgets what was recorded."""
    found.torch.cuda.memory._record_memory_history(enabled=None)


def block_map(found: Support) -> Optional[list[dict[str, Any]]]:
    """The segments and their blocks without the history: None where that would copy the history too,
    which takes a second for every 150,000 events (before PyTorch 2.11)."""
    cheap = getattr(found.torch.cuda.memory, "memory_snapshot", None)
    if cheap is None or "include_traces" not in inspect.signature(cheap).parameters:
        return None
    segments: list[dict[str, Any]] = cheap(include_traces=False)
    return segments


def compiling_check(torch: Any) -> Callable[[], bool]:
    """Whether a compiler traces the code that asks instead of running it. In compiled regions the labels
    stay those of the module that was entered from outside."""
    for holder, name in (
        (getattr(torch, "compiler", None), "is_compiling"),
        (getattr(torch, "_dynamo", None), "is_compiling"),
    ):
        found: Optional[Callable[[], bool]] = getattr(holder, name, None)
        if found is not None:
            return found
    return lambda: False


def tracing_check(torch: Any) -> Callable[[], bool]:
    """Whether Dynamo, which takes what this gives for a constant, traces the code that asks. The
    cheaper of two questions where a PyTorch has both: it is asked twice for each module call."""
    return getattr(getattr(torch, "compiler", None), "is_dynamo_compiling", None) or compiling_check(torch)
