"""After an out-of-memory error: a snapshot while all is alive, ten lines, a report.

The user's exception is never replaced, hidden or held up by more than the budget and the time that
taking the snapshot itself needs. Whatever goes wrong here ends in one line of warning.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._batches import at_failure
from ._capture import Capture
from ._explanation import Explanation, report_path
from ._files import say, sidecar_path
from ._snapshot import oom_messages
from ._snapshot import size_text as _size
from ._summary import of_message, where

if TYPE_CHECKING:
    from ._recorder import Recorder

MOST_DUMPS = 3
"""Snapshots within ``PER_SECONDS``; further errors are only counted, and reported if they are not caught."""
PER_SECONDS = 600.0
LEAST_BETWEEN_S = 30.0
"""After that many, the next snapshot takes the place of one that the program recovered from, if it comes this
much later."""
SAID_AT = frozenset([2, 10, 100, 1_000, 10_000, 100_000, 1_000_000])
"""Counts of errors without a snapshot that are worth a line."""
MOST_KEYS = 10_000
MOST_CAUSES = 32
"""Exceptions looked at behind one."""

_targets: list[OomWatch] = []
"""Who the observer tells. PyTorch's observers cannot be detached, so one is attached for good and
asks here."""
_attached_in: Optional[int] = None


def _observe(device: int, requested: int, total: int, free: int) -> None:
    """PyTorch calls this after a failed allocation, before its exception is thrown."""
    for watch in list(_targets):
        watch.on_oom(device, requested, total, free)


class Seen:
    """An error that the observer was told of."""

    def __init__(self, oom: dict[str, Any], thread: Optional[int], time_s: float) -> None:
        self.oom = oom
        self.thread = thread
        """Whose work failed; None where that is not known."""
        self.time_s = time_s
        self.batches: list[dict[str, Any]] = []
        """The micro-batches until then."""
        self.is_tried = False
        """Whether a snapshot was taken, or could not be."""
        self.capture: Optional[Capture] = None
        self.outcome = "unknown"


class OomWatch:
    """Watches one process for out-of-memory errors."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.process = os.getpid()
        self.count = 0
        self._busy = threading.local()
        self._lock = threading.RLock()
        self._keys: dict[tuple[Any, ...], int] = {}
        self._dumped: list[Seen] = []
        self._open: dict[Optional[int], list[Seen]] = {}
        """Errors of which nobody knows yet what became of them, by thread; the newest last."""
        self._told_of: Optional[tuple[int, int, str]] = None
        """The exception that was reported last. Not itself: it would keep alive what its frames hold."""
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
        self.process = -1

    def after_fork(self) -> None:
        """In a forked child: what its parent saw is not the child's."""
        self.process = os.getpid()
        self._lock = threading.RLock()
        self._open, self._dumped = {}, []

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
        oom = {
            "device": device,
            "driver_request_bytes": requested,
            "device_total_bytes": total,
            "device_free_bytes": free,
            "time_us": time.time_ns() // 1000,
            "python_stack": list(reversed(stack)),
            "outcome": "unknown",
        }
        labels, thread = self.recorder.labels, _own_thread()
        is_python_thread = thread is not None
        if labels is not None:
            thread = labels.thread_of_error(is_python_thread)
            current = oom["current"] = labels.current()
            # In a batch's making, nothing has gone into a model yet.
            if current.get("phase") in ("forward", "backward", "optimizer") or labels.native.is_inside:
                oom["inputs"] = labels.batches.current(thread, labels.native.is_inside)
        seen = Seen(oom, thread, started)
        if labels is not None:
            seen.batches = labels.batches.document()
        key = (device, requested, tuple(stack[-3:]))
        with self._lock:
            self.count += 1
            oom["count"] = self.count
            if len(self._keys) > MOST_KEYS:
                self._keys.clear()
            is_new = key not in self._keys
            self._keys[key] = self._keys.get(key, 0) + 1
            takes = is_new and self._has_room(started)
            mine = self._open.setdefault(thread, [])
            # One without a snapshot has nothing to be settled.
            mine[:] = [one for one in mine if one.is_tried][-MOST_DUMPS:] + [seen]
        try:
            if takes:
                self._dump(seen, f"oom-{self.count}", started)
            elif self.count in SAID_AT:
                say(f"out of memory again ({self.count} times so far); no further snapshot of it")
        finally:
            if labels is not None:
                labels.note_failure(thread)

    def _has_room(self, now: float) -> bool:
        """Whether another snapshot may be written. It may take the place of one that came to nothing."""
        self._dumped = [one for one in self._dumped if now - one.time_s <= PER_SECONDS]
        if len(self._dumped) < MOST_DUMPS:
            return True
        old = next((one for one in self._dumped if one.outcome == "recovered" and one.capture is not None), None)
        if old is None or now - self._dumped[-1].time_s < LEAST_BETWEEN_S:
            return False
        self._dumped.remove(old)
        assert old.capture is not None
        if old.capture.is_written.is_set():
            path = old.capture.path
            for file in (path, sidecar_path(path), report_path(path)):
                try:
                    file.unlink()
                except OSError:
                    pass
            if path in self.recorder.snapshots:
                self.recorder.snapshots.remove(path)
            say(f"{path.name}, which the program recovered from, gives way to a new snapshot")
        return True

    def _dump(self, seen: Seen, name: str, started: float) -> Capture:
        """Takes the snapshot here; writes and explains it in another thread, within the budget."""
        budget = self.recorder.options.oom_budget_s
        seen.is_tried = True
        # Before the snapshot, which a failure must not make again and again.
        self._dumped.append(seen)
        capture = seen.capture = self.recorder.capture(name, timeout_s=budget, oom=seen.oom)
        if "current" in seen.oom:
            told = at_failure(seen.batches, seen.oom["current"], seen.oom.get("inputs"))
            capture.document.update(current=seen.oom["current"], batches=told)
        Explanation(self.recorder, capture).run(max(budget - (time.monotonic() - started), 0.0))
        return capture

    # What becomes of it

    def note_activity(self) -> None:
        """A forward pass begins in this thread: the last errors of its work were recovered from."""
        if not self._open:
            return
        thread = threading.get_ident()
        labels = self.recorder.labels
        is_alone = labels is not None and set(labels.batches.threads) <= {thread}
        for key in (thread, None) if is_alone else (thread,):
            for seen in self._open.pop(key, []):
                self._settle(seen, "recovered")

    def newest_path(self) -> Optional[Path]:
        """Where the snapshot of the newest error is, of which nobody knows yet what becomes of it."""
        found = [one for seen in self._open.values() for one in seen if one.capture is not None]
        newest = max(found, key=lambda one: one.time_s, default=None)
        return newest.capture.path if newest is not None and newest.capture is not None else None

    def at_exit(self, ending: str = "the program") -> None:
        """The recording ends, with ``ending``: what was not raised to the top until now was caught."""
        left = sorted((one for seen in self._open.values() for one in seen), key=lambda one: one.time_s)
        self._open = {}
        for seen in left:
            self._settle(seen, "caught", ending if seen is left[-1] else None)

    def _settle(self, seen: Seen, outcome: str, ending: Optional[str] = None) -> None:
        seen.outcome = outcome
        try:
            name = None
            if seen.capture is not None:
                seen.capture.update(oom={**seen.oom, "outcome": outcome, "count": self.count})
                name = seen.capture.path.name if seen.capture.problem is None else None
            if outcome == "recovered" and name is not None:
                say(f"the program recovered from the out-of-memory error of {name}")
            elif outcome == "caught" and ending is not None:
                if name is not None:
                    say(f"the out-of-memory error of {name} was caught; {ending} ended")
                elif not seen.is_tried:
                    say(f"an out-of-memory error without a snapshot was caught; {ending} ended")
                    for line in _known(seen.oom):
                        say(line)
        except Exception as problem:
            say(f"what became of the out-of-memory error: {type(problem).__name__}: {problem}")

    # Errors as exceptions

    def _on_exception(self, kind: Any, value: Any, trace: Any) -> None:
        self.on_uncaught(value)
        self._excepthook(kind, value, trace)

    def _on_thread_exception(self, arguments: Any) -> None:
        self.on_uncaught(arguments.exc_value)
        self._thread_hook(arguments)

    def on_uncaught(self, value: Any) -> Optional[Path]:
        """An exception goes up to the top. If it is an out-of-memory error, or was raised because of one, that
        one was not recovered from; and if there is no snapshot of it, as of errors that the observer is not told
        of (NCCL, cuBLAS, a rejected request), it is reported now from what is known. Returns where its snapshot
        is."""
        try:
            causes = oom_causes(value)
            if not causes or os.getpid() != self.process:
                return None
            cause, message = causes[0]
            text = str(cause)
            told_of = (id(cause), self.count, text)
            if self._told_of == told_of:
                return None
            self._told_of = told_of
            return self._raised(causes, text, message)
        except Exception as problem:
            say(f"no out-of-memory report: {type(problem).__name__}: {problem}")
        return None

    def _raised(
        self, causes: list[tuple[BaseException, dict[str, Any]]], text: str, message: dict[str, Any]
    ) -> Optional[Path]:
        started = time.monotonic()
        is_of_allocator = message["class"] != "outside_allocator"
        known: list[Seen] = []
        if is_of_allocator:
            thread = threading.get_ident()
            known = self._open.pop(thread if self._open.get(thread) else None, [])
        for seen in known[: -len(causes)]:
            self._settle(seen, "caught")
        for seen in known[-len(causes) :]:
            self._settle(seen, "raised")
        newest = known[-1] if known else None
        if newest is not None and newest.is_tried:
            return newest.capture.path if newest.capture is not None else None
        of_exception = {"message": text[:4000], "from_message": message, "outcome": "raised"}
        if newest is None:
            newest = Seen({"device": message["device"]}, None, started)
        newest.oom.update(of_exception)
        if not (self.recorder.is_active and self.recorder.has_cuda):
            for line in [*of_message(message), *where(newest.oom)]:
                say(line)
            if not self.recorder.is_active:
                say("nothing was recorded, so there is no snapshot of it")
            return None
        if "driver_request_bytes" in newest.oom:
            return self._dump(newest, "oom-exception", started).path
        taken = self.recorder.capture("oom-exception", timeout_s=self.recorder.options.oom_budget_s, oom=newest.oom)
        Explanation(self.recorder, taken, message, self.count > 0 and is_of_allocator).run(
            max(self.recorder.options.oom_budget_s - (time.monotonic() - started), 0.0)
        )
        return taken.path


def oom_causes(value: Any) -> list[tuple[BaseException, dict[str, Any]]]:
    """The out-of-memory errors among an exception and what it was raised from or in the handling of, each with
    what its message says; the outermost first."""
    found: list[tuple[BaseException, dict[str, Any]]] = []
    pending: list[Any] = [value]
    seen: set[int] = set()
    while pending and len(seen) < MOST_CAUSES:
        one = pending.pop(0)
        # What ends a program on purpose was not raised by the error that was being handled.
        if not isinstance(one, Exception) or id(one) in seen:
            continue
        seen.add(id(one))
        text = str(one)[:100_000]
        messages = oom_messages(text)
        if messages:
            found.append((one, messages[0]))
        elif type(one).__name__ == "OutOfMemoryError":
            # In words that are not known: they are told as they are.
            words = " ".join(text.split())[:300]
            found.append((one, {"class": "unread", "title": words, "backend": "CUDA", "device": None}))
        pending += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return found


def _known(oom: dict[str, Any]) -> list[str]:
    """What was seen of an error that got no snapshot."""
    asked = f"{_size(oom['driver_request_bytes'])} asked of the driver, {_size(oom['device_free_bytes'])} free"
    return [f"out of memory on device {oom['device']}: {asked}", *where(oom)]


def _own_thread() -> Optional[int]:
    """This thread's identity; None if it is none of Python's own, as autograd's are."""
    this = threading.get_ident()
    for thread in threading.enumerate():
        if thread.ident == this and not isinstance(thread, threading._DummyThread):
            return this
    return None


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return os.path.dirname(os.path.abspath(frame.filename)) == os.path.dirname(os.path.abspath(__file__))
