"""PyTorch's counters beside NVML's figures, and a sign of life for ``gpumemprof top``.

A thread reads the allocator's counters twice a second (and at each step and snapshot), keeps them
with their times, and tells them to whoever watches the machine: one small file in a folder of this
user's, replaced whole, removed at the end. Reading the counters allocates nothing, takes some 20 µs
for each device, and needs no lock that the allocator holds while it waits for Python.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Optional, Union

from . import _native
from ._files import rank, read_json, say, write_json
from ._options import address_and_port

INTERVAL_S = 0.5
LEAST_INTERVAL_S = 0.05
"""Steps shorter than this do not each read the counters."""
MOST_LOOKS = 36_000
"""Five hours at two a second; after that the oldest go. One is about 200 bytes."""
HALF_WRITTEN_S = 60.0
"""A file that is being written takes milliseconds; one this old was left by a process that was killed."""

COLUMNS = (
    "time_us",
    "device",
    "requested_bytes",
    "allocated_bytes",
    "active_bytes",
    "reserved_bytes",
    "turnover_bytes",
)


class Pulse:
    """Reads the counters of this process's devices until it is stopped."""

    def __init__(
        self,
        torch: Any,
        devices: Callable[[], list[dict[str, Any]]],
        step: Callable[[], Optional[int]],
        sampler: Callable[[], Optional[_native.Sampler]],
    ) -> None:
        self.torch = torch
        self.devices: list[dict[str, Any]] = []
        """Known once PyTorch has started CUDA, which it has not where this object is made."""
        self._find_devices = devices
        self.step = step
        self.sampler = sampler
        """Whose sentences are said once."""
        self.process = os.getpid()
        self.path: Optional[Path] = None
        self._looks: deque[tuple[int, ...]] = deque(maxlen=MOST_LOOKS)
        self._identity: dict[str, Any] = {}
        self._said: set[str] = set()
        self._stop = threading.Event()
        # Re-entrant: a signal that dumps may come while the main thread reads the counters.
        self._lock = threading.RLock()
        self._last = 0.0
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Starts the thread. Where no file can be written, nobody is told; the rest works."""
        self._identity = json.loads(_native.identity_json())
        try:
            folder = _folder(Path(self._identity["pulse_folder"]))
            self.path = folder / f"{self.process}.json"
            remove_dead(folder, self._identity["namespace"])
        except OSError:
            self.path = None
        self._thread = threading.Thread(target=self._run, name="gpumemprof-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and takes the file away."""
        if self.process != os.getpid():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * INTERVAL_S)
        if self.path is not None:
            try:
                self.path.unlink()
            except OSError:
                pass

    def look(self, force: bool = True) -> None:
        """Reads the counters now; without ``force`` only if that was not done a moment ago."""
        now = time.monotonic()
        if not force and now - self._last < LEAST_INTERVAL_S:
            return
        self._last = now
        if not self.devices:
            self.devices = self._find_devices()
        with self._lock:
            for device in self.devices:
                self._looks.append(self._read(device["device"]))

    def _read(self, device: int) -> tuple[int, ...]:
        stats = self.torch.cuda.memory_stats_as_nested_dict(device)

        def current(name: str) -> int:
            return int(stats.get(name, {}).get("all", {}).get("current", 0))

        return (
            time.time_ns() // 1000,
            device,
            current("requested_bytes"),
            current("allocated_bytes"),
            current("active_bytes"),
            current("reserved_bytes"),
            turnover_bytes(stats),
        )

    def document(self) -> dict[str, list[int]]:
        """All looks so far, as columns."""
        with self._lock:
            looks = list(self._looks)
        return {name: [look[at] for look in looks] for at, name in enumerate(COLUMNS)}

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.look()
                self._say_once()
                self._write()
                self._stop.wait(INTERVAL_S)
        except Exception as problem:
            say(f"the device's counters are no longer read: {type(problem).__name__}: {problem}")

    def _say_once(self) -> None:
        """What the sampler has to say, by rank 0 of a machine only: all see the same devices."""
        sampler = self.sampler()
        if sampler is None or os.environ.get("LOCAL_RANK", "0") != "0":
            return
        for sentence in sampler.sentences:
            if sentence not in self._said:
                self._said.add(sentence)
                say(sentence)

    def _write(self) -> None:
        if self.path is None:
            return
        devices = []
        # Before the counters: what changes while they are read is then of a later time.
        time_us = time.time_ns() // 1000
        for device in self.devices:
            stats = self.torch.cuda.memory_stats_as_nested_dict(device["device"])

            def value(name: str, when: str = "current", stats: Any = stats) -> int:
                return int(stats.get(name, {}).get("all", {}).get(when, 0))

            devices.append(
                {
                    "device": device["device"],
                    "uuid": device.get("uuid"),
                    "pci_bus_id": device.get("pci_address"),
                    "requested_bytes": value("requested_bytes"),
                    "allocated_bytes": value("allocated_bytes"),
                    "active_bytes": value("active_bytes"),
                    "reserved_bytes": value("reserved_bytes"),
                    "allocated_peak_bytes": value("allocated_bytes", "peak"),
                    "reserved_peak_bytes": value("reserved_bytes", "peak"),
                    "turnover_bytes": turnover_bytes(stats),
                    "ooms": int(stats.get("num_ooms", 0)),
                }
            )
        document = {
            "schema": self._identity["pulse_schema"],
            **{name: self._identity[name] for name in ("process", "outer_process", "start_ticks", "namespace")},
            "time_us": time_us,
            "rank": rank(),
            "step": self.step(),
            "program": os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else None,
            # A device that this process holds nothing on is somebody else's.
            "devices": [one for one in devices if one["reserved_peak_bytes"]],
        }
        try:
            write_json(self.path, document)
        except OSError:
            # The folder is gone or full: nobody is told any more.
            self.path = None


def turnover_bytes(stats: dict[str, Any]) -> int:
    """What was ever taken from the driver and given back to it: unchanged only where nothing was."""
    reserved = stats.get("reserved_bytes", {}).get("all", {})
    return int(reserved.get("allocated", 0)) + int(reserved.get("freed", 0))


def _folder(path: Path) -> Path:
    """The folder for signs of life: made for this user alone. One that is another user's, as
    somebody may have put into ``/tmp``, is not used."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(path)
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or path.is_symlink()):
        raise PermissionError(str(path))
    return path


def remove_dead(folder: Path, namespace: Optional[str]) -> None:
    """Removes the files of processes that were killed: what they left of a write, and their signs of life.
    Only of this machine's own: another namespace's processes (a container's) cannot be seen from here."""
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found if entry.is_file(follow_symlinks=False))[:10_000]
    for name in names:
        path = folder / name
        try:
            if name.startswith("."):
                is_dead = time.time() - path.stat().st_mtime > HALF_WRITTEN_S
            else:
                pulse = read_json(path)
                is_dead = (
                    isinstance(pulse, dict)
                    and namespace is not None
                    and pulse.get("namespace") == namespace
                    and isinstance(pulse.get("start_ticks"), int)
                    and _start_ticks(pulse.get("process")) != pulse["start_ticks"]
                )
            if is_dead:
                path.unlink()
        except OSError:
            continue


def _start_ticks(process: Any) -> Optional[int]:
    """When a process started (field 22 of ``/proc/PID/stat``, proc(5)); None for one that has ended."""
    try:
        stat = Path(f"/proc/{int(process)}/stat").read_text(errors="replace")
        # The second field is the program's name in parentheses, and may hold both.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, ValueError, IndexError, TypeError):
        return None


def serve_metrics(where: Optional[Union[int, str]]) -> Optional[_native.Metrics]:
    """Serves the machine's figures to Prometheus, if that is asked for. Of a machine's ranks the
    first that gets the port serves for all."""
    if where is None:
        return None
    address, port = address_and_port(where)
    try:
        metrics = _native.Metrics(port, address)
    except (_native.Error, ValueError) as problem:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            say(str(problem))
        return None
    say(f"metrics are at http://{metrics.address}/metrics")
    return metrics
