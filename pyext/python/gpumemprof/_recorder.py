"""The recording of this process: started once, shared by whoever asks."""

from __future__ import annotations

import atexit
import functools
import os
import signal as signals
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Callable, Optional

from . import _native, _torch
from ._capture import Capture
from ._context import devices
from ._files import Folder, say
from ._labels import Labels
from ._oom import OomWatch
from ._options import Options, signal_number
from ._poll import poll
from ._pulse import Pulse, serve_metrics
from ._schedule import Schedule
from ._walk import Walker, Walks

EXIT_WAIT_S = 20.0
"""How long the end of the process waits for a snapshot that is still being written."""


class Recorder:
    """Records this process until it is stopped."""

    def __init__(self, options: Options, model: Any = None, optimizer: Any = None) -> None:
        self.options = options
        self.place = Folder(options.out)
        """Where snapshots go."""
        self.schedule = options.schedule or Schedule()
        self.model = model
        self.optimizers = _as_list(optimizer)
        self.process = os.getpid()
        self.found: Optional[_torch.Support] = None
        self.labels: Optional[Labels] = None
        self.walker: Optional[Walker] = None
        self.watch: Optional[OomWatch] = None
        self.sampler: Optional[_native.Sampler] = None
        self.pulse: Optional[Pulse] = None
        self.metrics: Optional[_native.Metrics] = None
        self.is_active = False
        self.is_recording = False
        self.has_cuda = False
        self.was_recording = False
        """Whether somebody had started PyTorch's recording before us."""
        self.snapshots: list[Path] = []
        self.problems: list[str] = []
        self._unwritten: dict[Path, Capture] = {}
        self._old_handler: Any = None
        self._signal_number: Optional[int] = None
        self._lock = threading.RLock()

    # Start and stop

    def start(self) -> bool:
        """Starts recording; whether that worked. Where it cannot, says why and leaves all alone."""
        self.found = found = _torch.support()
        if not found.can_record:
            for sentence in found.missing:
                self.complain(f"not recording: {sentence}")
            if found.has_device and self.options.on_oom:
                # An error's message says something too.
                watch_exceptions(self)
            return False
        if self.options.labels:
            self.labels = Labels(found.torch, found.set_metadata, self.model, span_capacity=self.options.max_entries)
            self.labels.before_optimizer = self._before_optimizer
            self.labels.on_step = self._on_step
            for optimizer in self.optimizers:
                self.expect(optimizer)
            self.walker = Walker(found.torch)
            self.labels.attach()
        if self.options.on_oom:
            self.watch = OomWatch(self)
            self.watch.attach()
            if self.labels is not None:
                self.labels.on_activity = self.watch.note_activity
        self._attach_signal()
        _started.add(self)
        self.is_active = True
        # Now if CUDA has started; else when it does, so that we are not who starts it: a launcher
        # needs no context, and a process that forks must not have one.
        found.torch.cuda._lazy_call(self._on_cuda)
        return True

    def expect(self, optimizer: Any) -> None:
        """``optimizer`` belongs to the training."""
        if self.labels is not None:
            self.labels.optimizers.add(optimizer)
            self.labels.cycle.expect([optimizer])

    def _on_cuda(self) -> None:
        """CUDA has started. Must not raise: the program's first use of CUDA would."""
        try:
            if not self.is_active or self.has_cuda:
                return
            assert self.found is not None
            self.has_cuda = True
            self.pulse = Pulse(self.found.torch, self.devices, self._step, lambda: self.sampler)
            self.pulse.start()
            self.metrics = serve_metrics(self.options.prometheus)
            self.was_recording = _torch.is_recording(self.found.torch)
            if self.was_recording:
                say(
                    "recording was already on, so its settings are kept; labels, snapshots and the "
                    "out-of-memory report are added"
                )
            if self.schedule.includes(self.labels.step if self.labels is not None else 0):
                self._start_history()
            if self.labels is not None:
                self.labels.begin()
            if self.watch is not None:
                self.watch.begin()
            if self.options.sample_hz > 0:
                self.sampler = _native.Sampler(interval_s=1.0 / self.options.sample_hz)
        except Exception as problem:
            self.complain(f"recording is incomplete: {type(problem).__name__}: {problem}")

    def after_fork(self) -> None:
        """In a forked child: its own recording if CUDA had not started, else none."""
        if self.has_cuda:
            self.is_active = False
            if self.labels is not None:
                self.labels.detach_silently()
            return
        self.process = os.getpid()
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        self._unwritten = {}
        self.snapshots = []
        if self.watch is not None:
            self.watch.after_fork()

    def stop(self) -> None:
        """Stops what was started here; recording that was on before stays on."""
        if not self.is_active or self.process != os.getpid():
            return
        self.is_active = False
        if self.labels is not None:
            self.labels.detach()
        if self.watch is not None:
            self.watch.detach()
        if self.sampler is not None:
            self.sampler.stop()
        if self.pulse is not None:
            self.pulse.stop()
        if self.metrics is not None:
            self.metrics.stop()
        self._detach_signal()
        self._stop_history()

    def _start_history(self) -> None:
        assert self.found is not None
        if self.is_recording or not self.has_cuda:
            return
        if not self.was_recording:
            _torch.start_history(
                self.found,
                max_entries=self.options.max_entries,
                stacks=self.options.stacks,
                skip_actions=self.options.skipped,
            )
        self.is_recording = True

    def _stop_history(self) -> None:
        assert self.found is not None
        if self.is_recording and not self.was_recording:
            _torch.stop_history(self.found)
        self.is_recording = False

    # Events

    def _before_optimizer(self, optimizer: Any) -> None:
        if self.walker is not None and self.is_recording:
            self.walker.walk_gradients(self._models(), optimizer)

    def _step(self) -> Optional[int]:
        return None if self.labels is None else self.labels.step

    def _on_step(self, step: int) -> None:
        """Never raises: a step of the program must not fail for us."""
        try:
            if self.pulse is not None:
                self.pulse.look(force=False)
            if self.schedule.is_always:
                return
            if self.schedule.includes(step):
                self._start_history()
            elif self.is_recording:
                try:
                    self.dump(f"step-{step - 1}")
                finally:
                    self._stop_history()
        except Exception as problem:
            self.complain(f"no snapshot of the steps until {step - 1}: {type(problem).__name__}: {problem}")

    def _models(self) -> list[Any]:
        return [] if self.labels is None else self.labels.names.models()

    def _all_optimizers(self) -> list[Any]:
        return [] if self.labels is None else list(self.labels.optimizers)

    # Snapshots

    def dump(self, name: str = "snapshot", **extra: Any) -> Path:
        """Writes a snapshot with its sidecar. Returns where."""
        taken = self.capture(name, **extra)
        taken.write()
        return taken.path

    def capture(self, name: str, *, timeout_s: float = -1, **extra: Any) -> Capture:
        """Takes a snapshot, to be written. ``timeout_s``: how long to wait for another thread that takes one;
        without end by default."""
        if self.found is None or not self.has_cuda:
            raise _native.RecordingError("CUDA has not started in this process, so there is nothing to write")
        if not self._lock.acquire(timeout=timeout_s):
            raise _native.RecordingError(f"another thread has been taking a snapshot for {timeout_s:.0f} s")
        try:
            path = self._free_name(name)
            taken = Capture(self, path, **extra)
            self._unwritten[path] = taken
            return taken
        finally:
            self._lock.release()

    def release(self, taken: Capture) -> None:
        """``taken`` was written, or could not be."""
        self._unwritten.pop(taken.path, None)
        if taken.problem is None:
            self.snapshots.append(taken.path)

    def finish_writing(self, timeout_s: float) -> None:
        """The process ends: waits for what is being written, and leaves nothing half-written."""
        if self.process != os.getpid():
            return
        until = time.monotonic() + timeout_s
        for taken in list(self._unwritten.values()):
            if taken.is_written.wait(max(until - time.monotonic(), 0)):
                continue
            say(f"the program ends before {taken.path.name} is written")
            for half in taken.path.parent.glob(f".{taken.path.stem}.*"):
                try:
                    half.unlink()
                except OSError:
                    pass

    def walks_now(self) -> Optional[Walks]:
        """Looks at all tensors, and what was seen of them before."""
        if self.walker is None:
            return None
        self.walker.walk(self._models(), self._all_optimizers(), now=True)
        return self.walker.frozen()

    def _free_name(self, name: str) -> Path:
        folder = self.place.path
        path = folder / f"{name}.pickle"
        again = 1
        while path.exists() or path in self._unwritten:
            again += 1
            path = folder / f"{name}-{again}.pickle"
        return path

    def devices(self) -> list[dict[str, Any]]:
        """The devices with their counters now."""
        return [] if self.found is None else devices(self.found.torch)

    def poll(self) -> list[dict[str, Any]]:
        """The devices' memory now, without the history."""
        if self.found is None or not self.has_cuda:
            raise _native.RecordingError("CUDA has not started in this process, so there is nothing to ask")
        return poll(self.found)

    # The signal that dumps

    def _attach_signal(self) -> None:
        if self.options.signal is None:
            return
        number = signal_number(self.options.signal)
        if threading.current_thread() is not threading.main_thread():
            self.complain("signals can be handled from the main thread only: none will dump")
            return
        self._old_handler = signals.signal(number, self._on_signal)
        self._signal_number = number

    def _detach_signal(self) -> None:
        if self._signal_number is None or threading.current_thread() is not threading.main_thread():
            return
        if signals.getsignal(self._signal_number) == self._on_signal:
            signals.signal(self._signal_number, self._old_handler or signals.SIG_DFL)
        self._signal_number = None

    def _on_signal(self, number: int, frame: Any) -> None:
        try:
            say(f"snapshot written to {self.dump('signal')}")
        except Exception as problem:
            say(f"no snapshot on signal {number}: {type(problem).__name__}: {problem}")
        old = self._old_handler
        if callable(old):
            old(number, frame)

    def complain(self, sentence: str) -> None:
        """Says what does not work, and keeps it; the same sentence is said once in a process."""
        self.problems.append(sentence)
        if (os.getpid(), sentence) not in _said:
            _said.add((os.getpid(), sentence))
            say(sentence)


def watch_exceptions(recorder: Optional[Recorder]) -> None:
    """Where nothing can be recorded: watches exceptions for ``recorder``, once in a process. None: no more."""
    global _exceptions
    if _exceptions is not None and (recorder is None or _exceptions.process != os.getpid()):
        _exceptions.detach()
        _exceptions = None
    if recorder is not None and _exceptions is None:
        _exceptions = OomWatch(recorder)
        _exceptions.attach()


_exceptions: Optional[OomWatch] = None
_said: set[tuple[int, str]] = set()


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


_current: Optional[Recorder] = None
_started: weakref.WeakSet[Recorder] = weakref.WeakSet()


def current() -> Optional[Recorder]:
    """The recorder of this process, if one is active. A forked child has none: its CUDA is not
    usable, and its files would be its parent's."""
    if _current is not None and _current.is_active and _current.process == os.getpid():
        return _current
    return None


def set_current(recorder: Optional[Recorder]) -> None:
    """Makes ``recorder`` the one of this process."""
    global _current
    _current = recorder


def _at_exit() -> None:
    recorder = current()
    work: list[Callable[[], None]] = []
    if recorder is not None:
        if recorder.watch is not None:
            work.append(recorder.watch.at_exit)
        work += [functools.partial(hook, recorder) for hook in exit_hooks]
    # Also of a profile that is over.
    work += [functools.partial(one.finish_writing, EXIT_WAIT_S) for one in list(_started)]
    if recorder is not None:
        work.append(recorder.stop)
    for one in work:
        try:
            one()
        except Exception as problem:
            say(f"at exit: {type(problem).__name__}: {problem}")


exit_hooks: list[Callable[[Recorder], None]] = []
"""What to do with the recorder when the process ends by itself."""

atexit.register(_at_exit)


def _after_fork() -> None:
    if _current is not None and _current.is_active:
        _current.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
