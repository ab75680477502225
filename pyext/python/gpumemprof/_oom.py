"""After an out-of-memory error: a snapshot while all is alive, ten lines, a report.

The user's exception is never replaced, hidden or held up by more than the budget. Whatever goes
wrong here ends in one line of warning.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._files import say
from ._snapshot import Snapshot, oom_messages, read
from ._snapshot import size_text as _size

if TYPE_CHECKING:
    from ._recorder import Recorder

MOST_DUMPS = 3
"""Snapshots within ``PER_SECONDS``; further errors are only counted."""
PER_SECONDS = 600.0

_targets: list[OomWatch] = []
"""Who the observer tells. PyTorch's observers cannot be detached, so one is attached for good and
asks here."""
_attached_in: Optional[int] = None


def _observe(device: int, requested: int, total: int, free: int) -> None:
    """PyTorch calls this after a failed allocation, before its exception is thrown."""
    for watch in list(_targets):
        watch.on_oom(device, requested, total, free)


class OomWatch:
    """Watches one process for out-of-memory errors."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.process = os.getpid()
        self.count = 0
        self.is_exceptional = False
        """Whether an uncaught out-of-memory error ends the process."""
        self._busy = threading.local()
        self._lock = threading.Lock()
        self._keys: dict[tuple[Any, ...], int] = {}
        self._times: deque[float] = deque()
        self._last: Optional[tuple[Path, dict[str, Any]]] = None
        self._last_time = 0.0
        self._excepthook: Any = None
        self._thread_hook: Any = None

    def attach(self) -> None:
        """Starts watching exceptions."""
        self._excepthook = sys.excepthook
        sys.excepthook = self._on_exception
        self._thread_hook = threading.excepthook
        threading.excepthook = self._on_thread_exception

    def begin(self) -> None:
        """CUDA has started: watches the allocator too."""
        global _attached_in
        found = self.recorder.found
        assert found is not None
        attach = getattr(found.torch._C, "_cuda_attach_out_of_memory_observer", None)
        if attach is None:
            say("this PyTorch has no out-of-memory observer: errors are caught at the exception only")
        elif _attached_in != os.getpid():
            attach(_observe)
            _attached_in = os.getpid()
        _targets.append(self)

    def detach(self) -> None:
        """Stops watching. Hooks that others put on top of ours stay: ours then only pass on."""
        if self in _targets:
            _targets.remove(self)
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._excepthook
        if threading.excepthook == self._on_thread_exception:
            threading.excepthook = self._thread_hook

    # What the observer sees

    def on_oom(self, device: int, requested: int, total: int, free: int) -> None:
        """Handles one failed allocation. Never raises: an exception here would replace the user's."""
        if getattr(self._busy, "is_set", False) or os.getpid() != self.process:
            return
        self._busy.is_set = True
        try:
            self._handle(device, requested, total, free)
        except Exception as problem:
            say(f"no out-of-memory report: {type(problem).__name__}: {problem}")
        finally:
            self._busy.is_set = False

    def _handle(self, device: int, requested: int, total: int, free: int) -> None:
        started = time.monotonic()
        stack = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_stack()
            if not _is_ours(frame)
        ][-32:]
        key = (device, requested, tuple(stack[-3:]))
        with self._lock:
            self.count += 1
            self._last_time = started
            self._keys[key] = self._keys.get(key, 0) + 1
            is_new = self._keys[key] == 1
            while self._times and started - self._times[0] > PER_SECONDS:
                self._times.popleft()
            takes = is_new and len(self._times) < MOST_DUMPS
            if takes:
                self._times.append(started)
            if len(self._keys) > 10_000:
                self._keys.clear()
        if not takes:
            if is_new or self._keys.get(key, 0) in (2, 10, 100, 1000):
                say(f"out of memory again ({self.count} times so far); no further snapshot of it")
            return
        oom = {
            "device": device,
            "driver_request_bytes": requested,
            "device_total_bytes": total,
            "device_free_bytes": free,
            "time_us": time.time_ns() // 1000,
            "count": self.count,
            "python_stack": list(reversed(stack)),
            "outcome": "unknown",
        }
        recorder = self.recorder
        path, sidecar = recorder.take(f"oom-{self.count}", oom=oom)
        self._last = (path, oom)
        self._explain(path, sidecar, device, total, started)

    def _explain(self, path: Path, sidecar: dict[str, Any], device: int, total: int, started: float) -> None:
        """The ten lines and the report, within the budget; what is late goes on by itself."""
        done, finished = threading.Event(), threading.Event()
        lines: list[str] = []
        whole = _device_total(sidecar, device, total)

        def work() -> None:
            snapshot = None
            try:
                snapshot = read(path)
                lines.extend(summary(snapshot, sidecar, device, whole))
            except Exception as problem:
                lines.append(f"no summary: {type(problem).__name__}: {problem}")
            done.set()
            if snapshot is not None and self.recorder.options.report:
                try:
                    say(
                        f"report: {snapshot.report(path.with_name('report-' + path.stem + '.html'), device_total=whole)}"
                    )
                except Exception as problem:
                    say(f"no report: {type(problem).__name__}: {problem}")
            finished.set()

        left = self.recorder.options.oom_budget_s - (time.monotonic() - started)
        worker = threading.Thread(target=work, name="gpumemprof-oom", daemon=True)
        worker.start()
        if not done.wait(max(left, 0.0)):
            say(f"out of memory; snapshot in {path}; the analysis takes too long to wait for: gpumemprof report {path}")
            return
        for line in lines[:9]:
            say(line)
        left = self.recorder.options.oom_budget_s - (time.monotonic() - started)
        if not finished.wait(max(left, 0.0)):
            say(f"the report takes too long to wait for: gpumemprof report {path}")

    # What becomes of it

    def note_activity(self) -> None:
        """A forward pass begins: the last error was recovered from."""
        last = self._last
        if last is None:
            return
        self._last = None
        self._settle(last, "recovered")

    def at_exit(self) -> None:
        """The process ends."""
        last, self._last = self._last, None
        if last is not None:
            self._settle(last, "raised" if self.is_exceptional else "recovered")

    def _settle(self, last: tuple[Path, dict[str, Any]], outcome: str) -> None:
        path, oom = last
        try:
            self.recorder.update_sidecar(path, oom={**oom, "outcome": outcome, "count": self.count})
            if outcome == "recovered":
                say(f"the program recovered from the out-of-memory error of {path.name}")
        except Exception as problem:
            say(f"{path.name}: {type(problem).__name__}: {problem}")

    # Errors that the observer does not see

    def _on_exception(self, kind: Any, value: Any, trace: Any) -> None:
        self.on_uncaught(value)
        self._excepthook(kind, value, trace)

    def _on_thread_exception(self, arguments: Any) -> None:
        self.on_uncaught(arguments.exc_value)
        self._thread_hook(arguments)

    def on_uncaught(self, value: Any) -> None:
        """An exception goes up to the top. If it is an out-of-memory error that the observer was
        not told of (NCCL, cuBLAS, a rejected request), it is reported from what is known."""
        try:
            messages = oom_messages(str(value)) if value is not None else []
            if not messages or os.getpid() != self.process:
                return
            self.is_exceptional = True
            if self._last is not None or (self.count and messages[0]["class"] != "outside_allocator"):
                return
            if not self.recorder.is_active:
                return
            message = messages[0]
            oom = {"message": str(value)[:4000], "from_message": message, "outcome": "raised"}
            path, sidecar = self.recorder.take("oom-exception", oom=oom)
            say(f"{message['backend']} out of memory: {message['title']}; PyTorch's observer was not told of it")
            for line in surroundings(sidecar)[:6]:
                say(line)
            say(f"snapshot (taken at the exception): {path}")
        except Exception as problem:
            say(f"no out-of-memory report: {type(problem).__name__}: {problem}")


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return os.path.dirname(os.path.abspath(frame.filename)) == os.path.dirname(os.path.abspath(__file__))


def summary(snapshot: Snapshot, sidecar: dict[str, Any], device: int, total: Optional[int]) -> list[str]:
    """At most nine lines on an out-of-memory error; the report's place is the tenth."""
    lines: list[str] = []
    ooms = [oom for oom in snapshot.ooms(device_total=total) if oom["device"] == device]
    if ooms:
        oom = ooms[-1]
        evidence = oom["evidence"]
        lines.append(
            f"out of memory on device {device}: asked for {_size(evidence['requested_bytes'])}, "
            f"driver had {_size(evidence['device_free_bytes'])} free; {oom['title']}"
        )
    else:
        lines.append(
            f"out of memory on device {device}: {_size(sidecar['oom']['driver_request_bytes'])} asked of the driver"
        )
        lines.append("the failed request is not in the history (recording was off, or has been on only since)")
    stack = sidecar["oom"]["python_stack"]
    own = next((frame for frame in stack if not _is_library(frame)), None)
    if stack:
        lines.append(f"by {stack[0]}" + (f", called from {own}" if own and own != stack[0] else ""))
    current = sidecar.get("current", {})
    known = [f"{key} {current[key]}" for key in ("module", "phase", "step", "micro_batch") if key in current]
    if sidecar.get("batches"):
        known.append(f"inputs {' '.join(sidecar['batches'][-1]['inputs']) or 'not told'}")
    if known:
        lines.append("in " + ", ".join(known))
    grown = _growth(sidecar.get("batches", []), device)
    if grown:
        lines.append(grown)
    at = "oom" if ooms else "end"
    layers = snapshot.peak("layer", at=at, device=device)
    most = [f"{group.name} {_size(group.requested_bytes)}" for group in layers.groups[:10]]
    if most:
        lines.append("layers that hold the most: " + ", ".join(most))
    categories = snapshot.peak("category", at=at, device=device)
    parts = [f"{group.name} {_size(group.requested_bytes)}" for group in categories.groups[:6]]
    if parts:
        lines.append("by category: " + ", ".join(parts))
    outside = surroundings(sidecar, device)[:2]
    if outside:
        lines.append("; ".join(outside))
    if ooms and ooms[-1]["advice"]:
        best = ooms[-1]["advice"][0]
        setting = f" (export {best['setting']})" if best.get("setting") else ""
        lines.append(f"advice: {best['title']}{setting}")
    lines = lines[:8]
    lines.append(f"snapshot: {snapshot.path}")
    return lines


def _is_library(frame: str) -> bool:
    return "site-packages" in frame or "dist-packages" in frame or frame.startswith("<")


def _growth(batches: list[dict[str, Any]], device: int) -> Optional[str]:
    """What this step began with that the one before did not."""
    steps = [batch for batch in batches if str(device) in batch["allocated_bytes"]]
    if len(steps) < 2:
        return None
    before, now = steps[-2], steps[-1]
    held, holds = before["allocated_bytes"][str(device)], now["allocated_bytes"][str(device)]
    changes = []
    if before["inputs"] != now["inputs"]:
        changes.append(f"inputs were {' '.join(before['inputs']) or 'not told'}")
    if held != holds:
        changes.append(f"{_size(holds)} allocated at its start, {_size(held)} at the one before")
    return f"since step {before['step']}: " + "; ".join(changes) if changes else None


def _device_total(sidecar: dict[str, Any], device: int, observed: int) -> Optional[int]:
    """The device's whole memory. What the observer says may be the memory fraction's limit."""
    for entry in sidecar["run"]["devices"]:
        if entry["device"] == device:
            return int(entry["total_bytes"])
    return observed or None


def surroundings(sidecar: dict[str, Any], device: Optional[int] = None) -> list[str]:
    """What lies outside PyTorch, as sentences."""
    lines = []
    for entry in sidecar.get("outside_pytorch", []):
        if device is not None and entry["device"] != device:
            continue
        if entry["process_outside_bytes"] is not None:
            lines.append(
                f"outside PyTorch, in this process: {_size(entry['process_outside_bytes'])} (context, libraries, NCCL)"
            )
        others = [one for one in entry["others"] or [] if one["used_bytes"]]
        if others:
            named = ", ".join(
                f"process {one['process']}{' (' + one['name'] + ')' if one.get('name') else ''} {_size(one['used_bytes'])}"
                for one in others[:4]
            )
            lines.append(f"other processes on the device: {named}")
    return lines
