"""The recording of this process: started once, shared by whoever asks."""

from __future__ import annotations

import atexit
import json
import os
import signal as signals
import threading
from pathlib import Path
from typing import Any, Callable, Optional, Union

from . import _native, _torch
from ._context import describe, devices, outside_pytorch
from ._files import rank, read_json, run_folder, say, sidecar_path, write_json, write_snapshot
from ._labels import Labels
from ._oom import OomWatch
from ._options import Options
from ._poll import poll
from ._pulse import Pulse, serve_metrics
from ._schedule import Schedule
from ._walk import Walker

SCHEMA = "gpumemprof.sidecar/1"


class Recorder:
    """Records this process until it is stopped."""

    def __init__(self, options: Options, model: Any = None, optimizer: Any = None) -> None:
        self.options = options
        self.out = Path(options.out)
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
        self._folder: Optional[Path] = None
        self._old_handler: Any = None
        self._signal_number: Optional[int] = None
        self._lock = threading.RLock()

    # Start and stop

    def start(self) -> bool:
        """Starts recording; whether that worked. Where it cannot, says why and leaves all alone."""
        self.found = found = _torch.support()
        if not found.can_record:
            for sentence in found.missing:
                self._complain(f"not recording: {sentence}")
            return False
        if self.options.labels:
            self.labels = Labels(found.torch, found.set_metadata, self.model, span_capacity=self.options.max_entries)
            self.labels.before_optimizer = self._before_optimizer
            self.labels.on_step = self._on_step
            for optimizer in self.optimizers:
                self.labels.optimizers.add(optimizer)
            self.walker = Walker(found.torch)
            self.labels.attach()
        if self.options.on_oom:
            self.watch = OomWatch(self)
            self.watch.attach()
            if self.labels is not None:
                self.labels.on_activity = self.watch.note_activity
        self._attach_signal()
        self.is_active = True
        # Now if CUDA has started; else when it does, so that we are not who starts it: a launcher
        # needs no context, and a process that forks must not have one.
        found.torch.cuda._lazy_call(self._on_cuda)
        return True

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
            self._complain(f"recording is incomplete: {type(problem).__name__}: {problem}")

    def after_fork(self) -> None:
        """In a forked child: its own recording if CUDA had not started, else none."""
        if self.has_cuda:
            self.is_active = False
            if self.labels is not None:
                self.labels.detach_silently()
            return
        self.process = os.getpid()
        self._folder = None
        self.snapshots = []
        if self.watch is not None:
            self.watch.process = os.getpid()

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
        if self.pulse is not None:
            self.pulse.look(force=False)
        if self.schedule.is_always:
            return
        if self.schedule.includes(step):
            self._start_history()
        elif self.is_recording:
            self.dump(f"step-{step - 1}")
            self._stop_history()

    def _models(self) -> list[Any]:
        return [] if self.labels is None else self.labels.names.models()

    def _all_optimizers(self) -> list[Any]:
        return [] if self.labels is None else list(self.labels.optimizers)

    # Snapshots

    @property
    def folder(self) -> Path:
        """This process's folder; made when first needed."""
        with self._lock:
            if self._folder is None:
                self._folder = run_folder(self.out)
            return self._folder

    def dump(self, name: str = "snapshot", **extra: Any) -> Path:
        """Writes a snapshot with its sidecar. Returns where."""
        path, _ = self.take(name, **extra)
        return path

    def take(self, name: str, **extra: Any) -> tuple[Path, dict[str, Any]]:
        """Writes a snapshot with its sidecar, and returns the sidecar too."""
        if self.found is None or not self.has_cuda:
            raise _native.RecordingError("CUDA has not started in this process, so there is nothing to write")
        with self._lock:
            path = self._free_name(name)
            document = self.sidecar(**extra)
            snapshot = self.found.torch.cuda.memory._snapshot()
            self._check_times(snapshot, document)
            write_snapshot(path, snapshot)
            write_json(sidecar_path(path), document)
            self.snapshots.append(path)
            return path, document

    def _check_times(self, snapshot: dict[str, Any], document: dict[str, Any]) -> None:
        """Without times in the events nothing can be joined by them, and the sidecar says so."""
        event = next((trace[0] for trace in snapshot.get("device_traces", []) if trace), None)
        if event is None or "time_us" in event or "spans" not in document:
            return
        del document["spans"], document["labels"]
        document["recording"]["labels"] = "none"
        sentence = (
            "events have no time in this PyTorch (they came with 2.2), so modules and phases cannot be "
            "joined to them: layers are read from the stacks, and backward passes have none"
        )
        if sentence not in document["recording"]["missing"]:
            document["recording"]["missing"].append(sentence)
            self._complain(sentence)

    def _free_name(self, name: str) -> Path:
        path = self.folder / f"{name}.pickle"
        again = 1
        while path.exists():
            again += 1
            path = self.folder / f"{name}-{again}.pickle"
        return path

    def sidecar(self, **extra: Any) -> dict[str, Any]:
        """What is known besides the snapshot that is about to be taken."""
        assert self.found is not None
        torch = self.found.torch
        document: dict[str, Any] = {"schema": SCHEMA, "run": describe(torch), "rank": rank()}
        document["recording"] = {
            "max_entries": self.options.max_entries,
            "stacks": self.options.stacks,
            "skip_actions": self.options.skipped,
            "started_by_user": self.was_recording,
            "labels": "none" if self.labels is None else "spans" if self.labels.is_joined_by_time else "metadata",
            "missing": self.found.missing,
        }
        if self.labels is not None:
            document["step"] = self.labels.step
            document["current"] = self.labels.current()
            document["batches"] = self.labels.batches.document()
            spans = self.labels.native.spans()
            if spans is not None:
                document["labels"], document["spans"] = spans
        if self.walker is not None:
            self.walker.walk(self._models(), self._all_optimizers(), now=True)
            document.update(self.walker.document())
        if self.pulse is not None:
            self.pulse.look()
        if self.sampler is not None:
            document["samples"] = json.loads(self.sampler.series_json())
            # Asked now: the newest of the series is of another moment than the counters.
            document["outside_pytorch"] = outside_pytorch(document["run"]["devices"])
        if self.pulse is not None:
            self.pulse.look()
            document["counters"] = self.pulse.document()
        document.update(extra)
        return document

    def update_sidecar(self, snapshot: Path, **changes: Any) -> None:
        """Adds to a sidecar written before."""
        path = sidecar_path(snapshot)
        document = read_json(path)
        if isinstance(document, dict):
            document.update(changes)
            write_json(path, document)

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
            self._complain("signals can be handled from the main thread only: none will dump")
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

    def _complain(self, sentence: str) -> None:
        self.problems.append(sentence)
        say(sentence)


def signal_number(name: Union[int, str]) -> int:
    """The number of ``USR1``, ``SIGUSR1`` or ``10``."""
    if isinstance(name, int):
        return name
    if name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    found = getattr(signals, full, None)
    if found is None:
        raise ValueError(f"no signal is called {name!r}: expected one as USR1 or SIGUSR1")
    return int(found)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


_current: Optional[Recorder] = None


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
    if recorder is None:
        return
    try:
        if recorder.watch is not None:
            recorder.watch.at_exit()
        for hook in list(exit_hooks):
            hook(recorder)
        recorder.stop()
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
