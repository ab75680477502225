"""The ways to record: `enable`, `profile`, `dump`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from . import _recorder
from ._files import Folder, say
from ._native import RecordingError
from ._oom import oom_causes
from ._options import Options
from ._recorder import Recorder
from ._schedule import Schedule
from ._snapshot import Snapshot, read

PathLike = Union[str, "os.PathLike[str]"]


def enable(
    out: PathLike = Options.out,
    *,
    model: Any = None,
    optimizer: Any = None,
    max_entries: int = Options.max_entries,
    stacks: str = Options.stacks,
    schedule: Optional[Schedule] = Options.schedule,
    labels: bool = Options.labels,
    on_oom: bool = Options.on_oom,
    oom_budget_s: float = Options.oom_budget_s,
    sample_hz: float = Options.sample_hz,
    signal: Optional[Union[int, str]] = Options.signal,
    skip_actions: Optional[Union[str, Sequence[str]]] = Options.skip_actions,
    report: bool = Options.report,
    prometheus: Optional[Union[int, str]] = Options.prometheus,
) -> bool:
    """Records from now on, and writes a snapshot and a report if the job runs out of memory.

    Returns whether it records; where it cannot (no CUDA build, no device, another allocator
    backend) it says why on standard error and leaves everything as it is. A second call changes
    nothing.

    ``out``: where this process's folder goes, made when there is something to write.
    ``max_entries``: events kept, the newest, at 0.3 to 6 KB of host memory each, by the depth of the
    stacks. ``stacks``: ``"python"``, or ``"all"`` for C++ too at about twice the time per allocation. ``schedule``:
    which steps. ``labels``: whether allocations get module, phase and step. ``on_oom``: whether
    out-of-memory errors are watched for. ``oom_budget_s``: how long such an error may be held up
    before it goes on its way. ``sample_hz``: how often NVML is asked; 0 never. ``signal``: one that
    dumps now, as ``"USR1"``. ``skip_actions``: what PyTorch 2.11 and later is not to record;
    ``"lean"`` leaves out the requests of frees, a third of all events. ``report``: whether an
    out-of-memory error gets its HTML report. ``prometheus``: a port, or ``"address:port"``, to serve
    the machine's devices and processes on as metrics.
    """
    options = Options.of(locals())
    if _recorder.current() is not None:
        return True
    recorder = Recorder(options, model, optimizer)
    if not recorder.start():
        return False
    _recorder.set_current(recorder)
    return True


def disable() -> None:
    """Stops what `enable` started. Recording that was on before stays on."""
    recorder = _recorder.current()
    if recorder is not None:
        recorder.stop()
        _recorder.set_current(None)
    _recorder.watch_exceptions(None)


def dump(name: str = "snapshot") -> Path:
    """Writes a snapshot now, with its sidecar, and returns where."""
    recorder = _recorder.current()
    if recorder is None:
        raise RecordingError("nothing is recorded: call gpumemprof.enable() first, and see what it says")
    return recorder.dump(name)


def poll() -> list[dict[str, Any]]:
    """The devices' memory now, without the history: PyTorch's counters, and where this version has the
    cheap way (2.11 and later, 0.2 ms) the free bytes by kind. Bytes; None for what is not known."""
    recorder = _recorder.current()
    if recorder is None:
        raise RecordingError("nothing is recorded: call gpumemprof.enable() first, and see what it says")
    return recorder.poll()


class Profile:
    """A recording with a beginning and an end. See `profile`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._options = recorder.options
        self._is_ours = False
        self._is_inside = False
        self._was_explicit = False
        self._outer: Optional[Folder] = None
        """Where the borrowed recording's snapshots go otherwise."""
        self._folder: Optional[Folder] = None
        self._earlier: set[Path] = set()
        self._snapshots: Optional[list[Path]] = None
        """Those written while it was borrowed."""
        self._path: Optional[Path] = None
        self._snapshot: Optional[Snapshot] = None

    def __enter__(self) -> Profile:
        active = _recorder.current()
        if active is not None:
            self._borrow(active)
        elif self._recorder.start():
            self._is_ours = True
            _recorder.set_current(self._recorder)
        self._is_inside = True
        self._earlier = set(self._recorder.snapshots)
        labels = self._recorder.labels
        if labels is not None and self.is_recording:
            self._was_explicit = labels.is_explicit
            # In a recording that goes on, two steps must not have one number.
            labels.next_step(None if labels.step or labels.batches.threads else 0)
        return self

    def _borrow(self, active: Recorder) -> None:
        """Enabled before: that recording goes on, and this profile's snapshots go to its own folder."""
        mine, self._recorder = self._recorder, active
        if active.labels is not None and mine.model is not None:
            active.labels.add_root(mine.model)
        for optimizer in mine.optimizers:
            active.expect(optimizer)
        ignored = [
            name
            for name in self._options.changed()
            if name != "out" and getattr(self._options, name) != getattr(active.options, name)
        ]
        if ignored:
            say(
                "the recording that enable() began goes on, so these options of the profile have no effect: "
                + ", ".join(ignored)
            )
        if "out" in self._options.changed():
            self._outer, active.place = active.place, Folder(self._options.out)
            self._folder = active.place

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        recorder = self._recorder
        if not self._is_inside:
            return
        self._is_inside = False
        try:
            if value is not None and recorder.watch is not None and oom_causes(value):
                # It has its own snapshot: taken while all was alive.
                self._path = recorder.watch.on_uncaught(value) if self._is_ours else recorder.watch.newest_path()
            elif self.is_recording and recorder.is_recording:
                self._path = recorder.dump()
        except Exception as problem:
            say(f"no snapshot at the end of the profile: {type(problem).__name__}: {problem}")
        finally:
            if self._outer is not None:
                recorder.place, self._outer = self._outer, None
            if recorder.labels is not None:
                recorder.labels.is_explicit = self._was_explicit
            if not self._is_ours:
                self._snapshots = list(recorder.snapshots)
            else:
                if recorder.watch is not None:
                    recorder.watch.at_exit("the profile")
                recorder.stop()
                _recorder.set_current(None)

    def start(self) -> Profile:
        """Starts without a ``with``."""
        return self.__enter__()

    def stop(self) -> None:
        """Stops what `start` started."""
        self.__exit__(None, None, None)

    @property
    def is_recording(self) -> bool:
        """Whether it records: false where this machine or PyTorch cannot, as said on standard error."""
        return self._recorder.is_active

    @property
    def problems(self) -> list[str]:
        """Why not, and what else did not work."""
        return list(self._recorder.problems)

    @property
    def folder(self) -> Path:
        """This process's folder."""
        return (self._folder or self._recorder.place).path

    @property
    def snapshots(self) -> list[Path]:
        """The snapshots written so far."""
        found = self._recorder.snapshots if self._snapshots is None else self._snapshots
        return [path for path in found if path not in self._earlier]

    def step(self, step: Optional[int] = None) -> None:
        """Ends a training step; the next one has the next number, or ``step``."""
        labels = self._recorder.labels
        if labels is not None and self.is_recording:
            labels.is_explicit = True
            labels.next_step(step)

    def poll(self) -> list[dict[str, Any]]:
        """As `gpumemprof.poll`."""
        return self._recorder.poll()

    def snapshot(self) -> Snapshot:
        """What was recorded: the whole, after the end; until now, before it."""
        if self._is_inside and self.is_recording and self._recorder.is_recording:
            return read(self._recorder.dump())
        path = self._path or (self.snapshots[-1] if self.snapshots else None)
        if path is None:
            why = "; ".join(self.problems) or "the profile was never entered"
            raise RecordingError(f"nothing was recorded: {why}")
        if self._snapshot is None:
            self._snapshot = read(path)
        return self._snapshot

    def report(self, path: Optional[PathLike] = None) -> Path:
        """Writes the HTML report and returns where: by default ``report.html`` in the run's folder."""
        snapshot = self.snapshot()
        assert snapshot.path is not None
        return snapshot.report(path if path is not None else snapshot.path.with_name("report.html"))


def profile(
    model: Any = None,
    optimizer: Any = None,
    *,
    out: PathLike = Options.out,
    max_entries: int = Options.max_entries,
    stacks: str = Options.stacks,
    schedule: Optional[Schedule] = Options.schedule,
    labels: bool = Options.labels,
    on_oom: bool = Options.on_oom,
    oom_budget_s: float = Options.oom_budget_s,
    sample_hz: float = Options.sample_hz,
    signal: Optional[Union[int, str]] = Options.signal,
    skip_actions: Optional[Union[str, Sequence[str]]] = Options.skip_actions,
    report: bool = Options.report,
    prometheus: Optional[Union[int, str]] = Options.prometheus,
) -> Profile:
    """Records a block of code: ``with gpumemprof.profile(model, optimizer) as prof``.

    The options are those of `enable`. With ``model`` and ``optimizer`` everything has its full name
    from the start; without, they are found when they are first used. Call ``prof.step()`` at the
    end of every training step.
    """
    return Profile(Recorder(Options.of(locals()), model, optimizer))
