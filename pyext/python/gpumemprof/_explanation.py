"""What follows an out-of-memory error: its files, ten lines and the report, in a thread of their own."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._capture import Capture
from ._files import say
from ._snapshot import read
from ._summary import device_total, of_message, summary, surroundings

if TYPE_CHECKING:
    from ._recorder import Recorder


class Explanation:
    """Writes a snapshot, then explains it: by itself, however long that takes."""

    def __init__(
        self,
        recorder: Recorder,
        capture: Capture,
        message: Optional[dict[str, Any]] = None,
        was_seen: bool = False,
    ) -> None:
        self._recorder = recorder
        self._capture = capture
        self._message = message
        """What the error itself says, where that is all that is known of it."""
        self._was_seen = was_seen
        """Whether the observer may have been told of it."""
        self._lines: list[str] = []
        self._is_told, self._is_done = threading.Event(), threading.Event()

    def run(self, budget_s: float) -> None:
        """Starts it, and waits for as long as there is time."""
        until = time.monotonic() + budget_s
        path = self._capture.path
        threading.Thread(target=self._work, name="gpumemprof-oom", daemon=True).start()
        if not self._is_told.wait(budget_s):
            what = "the analysis" if self._capture.is_written.is_set() else "the snapshot"
            say(f"out of memory; {what} takes too long to wait for, and goes on: gpumemprof report {path}")
            return
        for line in self._lines[:9]:
            say(line)
        if not self._is_done.wait(max(until - time.monotonic(), 0.0)):
            say(f"the report takes too long to wait for: gpumemprof report {path}")

    def _work(self) -> None:
        # All that is raised here ends here, also what ends a program: somebody waits.
        path, sidecar = self._capture.path, self._capture.document
        snapshot = None
        try:
            self._capture.write()
        except BaseException as problem:
            self._lines.append(f"no out-of-memory report: {type(problem).__name__}: {problem}")
            self._is_told.set()
            self._is_done.set()
            return
        whole = None
        try:
            if self._message is not None:
                self._lines += self._of_message(self._message, sidecar)
            else:
                oom = sidecar["oom"]
                whole = device_total(sidecar, oom["device"], oom["device_total_bytes"])
                snapshot = read(path)
                self._lines += summary(snapshot, sidecar, oom["device"], whole)
        except BaseException as problem:
            self._lines.append(f"no summary: {type(problem).__name__}: {problem}; snapshot: {path}")
        self._is_told.set()
        if snapshot is not None and self._recorder.options.report:
            try:
                say(f"report: {snapshot.report(report_path(path), device_total=whole)}")
            except BaseException as problem:
                say(f"no report: {type(problem).__name__}: {problem}")
        self._is_done.set()

    def _of_message(self, message: dict[str, Any], sidecar: dict[str, Any]) -> list[str]:
        lines = of_message(message)
        if not self._was_seen:
            lines[0] += "; PyTorch's observer was not told of it"
        return [*lines, *surroundings(sidecar)[:5], f"snapshot (taken at the exception): {self._capture.path}"]


def report_path(snapshot: Path) -> Path:
    """Where the report on ``snapshot`` lies."""
    return snapshot.with_name(f"report-{snapshot.stem}.html")
