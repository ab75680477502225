"""Folders and files of a run: written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

PREFIX = "gpumemprof: "


def say(text: str) -> None:
    """Prints on standard error, with the rank where there are several; a closed one is no reason to fail."""
    ranks = os.environ.get("WORLD_SIZE", "")
    if ranks.isdigit() and int(ranks) > 1:
        text = f"rank {rank()}: {text}"
    try:
        print(PREFIX + text, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass


def rank() -> int:
    """This process's rank, as launchers tell it; 0 without one."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return 0


def run_folder(out: os.PathLike[str] | str) -> Path:
    """A new folder for this process under ``out``: rank, host, process and time in its name."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40] or "host"
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    base = Path(out) / f"rank{rank()}_{host}_pid{os.getpid()}_{moment}"
    folder = base
    for again in range(1, 1000):
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            folder = base.with_name(f"{base.name}_{again}")
    raise FileExistsError(str(base))


class Folder:
    """Where this process's files go: a folder of its own under ``out``, made when there is something to write."""

    def __init__(self, out: os.PathLike[str] | str) -> None:
        self.out = Path(out)
        self._path: Optional[Path] = None
        self._process = os.getpid()
        self._lock = threading.RLock()

    @property
    def path(self) -> Path:
        """The folder, which is there from now on."""
        if self._process != os.getpid():
            # A forked child has its own.
            self._process, self._path, self._lock = os.getpid(), None, threading.RLock()
        with self._lock:
            if self._path is None:
                self._path = run_folder(self.out)
            return self._path


def write_whole(path: Path, write: Callable[[Any], None]) -> None:
    """Writes a file under another name and renames it, so that nobody sees half of one. On any
    failure nothing is left behind."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.chmod(name, 0o666 & ~umask())
        os.replace(name, path)
    except BaseException:
        try:
            os.unlink(name)
        except OSError:
            pass
        raise


def write_snapshot(path: Path, snapshot: Any) -> None:
    """Pickles a snapshot as PyTorch does (protocol 4: every memory_viz can read it)."""
    write_whole(path, lambda file: pickle.dump(snapshot, file, protocol=4))


def write_json(path: Path, document: Any) -> None:
    """Writes JSON."""
    data = json.dumps(document, separators=(",", ":"), default=str).encode()
    write_whole(path, lambda file: file.write(data))


def sidecar_path(snapshot: Path) -> Path:
    """Where the sidecar of ``snapshot`` lies."""
    return snapshot.with_suffix(".gpumemprof.json")


def umask() -> int:
    """The bits that new files do not get."""
    # Reading the mask means setting it; threads that create files meanwhile would see the other.
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    return 0o077


def read_json(path: Path) -> Optional[Any]:
    """A JSON file's content; None if there is none or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
