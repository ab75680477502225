"""A moment of a process: its snapshot and what the sidecar says of it, taken at once and written later."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._context import describe, outside_pytorch
from ._files import rank, read_json, sidecar_path, write_json, write_snapshot

if TYPE_CHECKING:
    from ._recorder import Recorder

SCHEMA = "gpumemprof.sidecar/1"


class Capture:
    """Takes the moment where it is made; `write` may run in another thread, while the program goes on."""

    def __init__(self, recorder: Recorder, path: Path, **extra: Any) -> None:
        assert recorder.found is not None
        torch = recorder.found.torch
        self.path = path
        self.is_written = threading.Event()
        """Set once both files are there, or will never be."""
        self.problem: Optional[BaseException] = None
        """Why they are not."""
        self._recorder = recorder
        self._lock = threading.Lock()
        self._late: dict[str, Any] = {}
        self.document: dict[str, Any] = {"schema": SCHEMA, "run": describe(torch), "rank": rank()}
        self.document["recording"] = {
            "max_entries": recorder.options.max_entries,
            "stacks": recorder.options.stacks,
            "skip_actions": recorder.options.skipped,
            "started_by_user": recorder.was_recording,
            "labels": "none"
            if recorder.labels is None
            else "spans"
            if recorder.labels.is_joined_by_time
            else "metadata",
            "missing": recorder.found.missing,
        }
        labels = recorder.labels
        if labels is not None:
            self.document["step"] = labels.step
            self.document["current"] = labels.current()
            self.document["batches"] = labels.batches.document()
            spans = labels.native.spans()
            if spans is not None:
                self.document["labels"], self.document["spans"] = spans
        self._walks = recorder.walks_now()
        if recorder.pulse is not None:
            recorder.pulse.look()
        self.document.update(extra)
        self._snapshot: Optional[dict[str, Any]] = torch.cuda.memory._snapshot()

    def write(self) -> None:
        """Writes both files. Raises what writing raises."""
        try:
            snapshot, self._snapshot = self._snapshot, None
            assert snapshot is not None
            self._complete(snapshot)
            write_snapshot(self.path, snapshot)
            with self._lock:
                document = {**self.document, **self._late}
            write_json(sidecar_path(self.path), document)
        except BaseException as problem:
            self.problem = problem
            raise
        finally:
            self._recorder.release(self)
            with self._lock:
                self.is_written.set()
                late = self._late
            if late and self.problem is None:
                self._rewrite(late)

    def update(self, **changes: Any) -> None:
        """Adds to the sidecar, also after it was written."""
        self.document.update(changes)
        with self._lock:
            if not self.is_written.is_set():
                self._late.update(changes)
                return
        if self.problem is None:
            self._rewrite(changes)

    def _rewrite(self, changes: dict[str, Any]) -> None:
        path = sidecar_path(self.path)
        document = read_json(path)
        if isinstance(document, dict) and any(document.get(name) != value for name, value in changes.items()):
            document.update(changes)
            write_json(path, document)

    def _complete(self, snapshot: dict[str, Any]) -> None:
        """What takes longer, and may be asked a little later."""
        document, recorder = self.document, self._recorder
        self._check_times(snapshot)
        traces = snapshot.get("device_traces", [])
        # Which snapshot this belongs to.
        document["ends"] = [
            {"device": device, "events": len(trace), "time_us": trace[-1].get("time_us")}
            for device, trace in enumerate(traces)
            if trace
        ]
        if self._walks is not None:
            oldest = [trace[0]["time_us"] for trace in traces if trace and "time_us" in trace[0]]
            document.update(self._walks.document(min(oldest, default=None)))
        if recorder.sampler is not None:
            document["samples"] = json.loads(recorder.sampler.series_json())
            # Asked now: the newest of the series is of another moment than the counters.
            document["outside_pytorch"] = outside_pytorch(document["run"]["devices"])
        if recorder.pulse is not None:
            document["counters"] = recorder.pulse.document()

    def _check_times(self, snapshot: dict[str, Any]) -> None:
        """Without times in the events nothing can be joined by them, and the sidecar says so."""
        document = self.document
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
            self._recorder.complain(sentence)
