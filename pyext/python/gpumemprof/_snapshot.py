"""Snapshots: read once, asked often. Everything is computed by the Rust core."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _native
from ._files import write_whole
from ._native import Error

if TYPE_CHECKING:
    import pandas

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Group:
    """Allocations that have something in common."""

    name: str
    requested_bytes: int
    """Bytes the program asked for."""
    block_bytes: int
    """Bytes of the blocks that hold them: rounding included."""
    allocations: int
    inferred_bytes: int
    """Requested bytes that belong here by inference, not because the file says so."""
    is_unknown: bool
    """Whether this is the group of what could not be told."""


@dataclass(frozen=True)
class Breakdown:
    """Who holds the memory of a moment. The groups' sums are exactly the totals."""

    by: str
    at: str
    device: int
    event: Optional[int]
    """Row of the event that led to the moment; None before the first."""
    requested_bytes: int
    block_bytes: int
    allocations: int
    recorded_bytes: int
    """Requested bytes whose group the file or its sidecar tells."""
    inferred_bytes: int
    unknown_bytes: int
    groups: tuple[Group, ...]
    """Most requested bytes first."""

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, name: Union[int, str]) -> Group:
        if isinstance(name, int):
            return self.groups[name]
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def to_dict(self) -> dict[str, int]:
        """Requested bytes by name; groups that share a name are added up."""
        out: dict[str, int] = {}
        for group in self.groups:
            out[group.name] = out.get(group.name, 0) + group.requested_bytes
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """The groups as a data frame."""
        out: pandas.DataFrame = _pandas().DataFrame([vars(group) for group in self.groups])
        return out

    def __str__(self) -> str:
        lines = [f"device {self.device}, {self.at}: {size_text(self.requested_bytes)} by {self.by}"]
        lines += [f"{size_text(group.requested_bytes):>12}  {group.name}" for group in self.groups[:20]]
        if len(self.groups) > 20:
            lines.append(f"{'':>12}  … {len(self.groups) - 20} more")
        return "\n".join(lines)


class Snapshot:
    """A memory snapshot, replayed and attributed."""

    def __init__(self, raw: _native.RawSnapshot, path: Optional[Path] = None) -> None:
        self._raw = raw
        self.path = path
        """The file it was read from, if it was."""

    @property
    def devices(self) -> list[int]:
        """The devices in it, ascending; -1 is pinned host memory."""
        return self._raw.devices

    @property
    def warnings(self) -> list[str]:
        """What was noticed while reading and replaying."""
        return self._raw.warnings

    @property
    def has_sidecar(self) -> bool:
        """Whether what the recorder knew besides (``….gpumemprof.json``) was found and used."""
        return self._raw.has_sidecar

    def stats(self) -> dict[str, Any]:
        """Peaks, totals and counts of every device, as ``gpumemprof stats --json``."""
        out: dict[str, Any] = json.loads(self._raw.stats_json())
        return out

    def peak(self, by: str = "layer", *, at: Union[int, str] = "peak", device: Optional[int] = None) -> Breakdown:
        """Who holds the memory at a moment.

        ``by``: layer, category, stack, function, file, line, metadata, annotation, stream, pool,
        kind, size, step or phase. ``at``: peak, reserved, oom, start, end, an event's number, or a
        time. ``device``: by default the one with the highest peak.
        """
        document = json.loads(self._raw.peak_json(by, str(at), device))
        document["groups"] = tuple(Group(**group) for group in document["groups"])
        return Breakdown(**document)

    def ooms(self, *, device_total: Optional[int] = None) -> list[dict[str, Any]]:
        """The verdict on each recorded out-of-memory error, with advice, as ``gpumemprof oom --json``.

        ``device_total`` in bytes lets the verdict tell what lies outside PyTorch.
        """
        out: list[dict[str, Any]] = json.loads(self._raw.oom_json(device_total))["ooms"]
        return out

    def allocations(
        self, *, live_at: Optional[Union[int, str]] = None, device: Optional[int] = None
    ) -> dict[str, list[Any]]:
        """Single allocations as columns: all, or those live at a moment."""
        return self._raw.columns(device, None if live_at is None else str(live_at))

    def to_pandas(self, *, live_at: Optional[Union[int, str]] = None, device: Optional[int] = None) -> pandas.DataFrame:
        """Single allocations as a data frame (needs pandas): all, or those live at a moment."""
        columns = self.allocations(live_at=live_at, device=device)
        frame: pandas.DataFrame = _pandas().DataFrame(columns)
        for name in ("alloc_event", "free_event", "step"):
            frame[name] = frame[name].astype("Int64")
        for name in ("layer", "layer_evidence", "category", "category_evidence", "phase"):
            frame[name] = frame[name].astype("category")
        return frame

    def report(
        self,
        path: Optional[PathLike] = None,
        *,
        redact: bool = False,
        device_total: Optional[int] = None,
    ) -> Path:
        """Writes the HTML report; by default beside the snapshot. Returns where.

        ``redact`` replaces paths, user and host names by neutral words.
        """
        if path is None:
            if self.path is None:
                raise Error("this snapshot was read from memory: say where the report is to be written")
            path = f"{os.fspath(self.path)}.html"
        target = Path(path)
        title = self.path.name if self.path is not None else "snapshot"
        page = self._raw.report_html(title, redact, device_total).encode()
        write_whole(target, lambda file: file.write(page))
        return target

    def __repr__(self) -> str:
        return f"<gpumemprof.Snapshot {str(self.path or 'in memory')!r}, devices {self.devices}>"


def read(path: PathLike) -> Snapshot:
    """Reads a snapshot file of any PyTorch from 1.13 on: pickle, JSON, memory_viz HTML, also
    compressed (.gz, .zst, .xz), with the sidecar beside it if there is one. Nothing in the file is
    ever executed.
    """
    return Snapshot(_native.read_file(os.fspath(path)), Path(path))


def oom_messages(text: str) -> list[dict[str, Any]]:
    """Every out-of-memory message in ``text`` (a log, an exception's string) with its figures in
    bytes and the verdict that they allow."""
    out: list[dict[str, Any]] = json.loads(_native.oom_messages_json(text))
    return out


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as problem:
        raise Error("pandas is not installed: pip install pandas, or use allocations()") from problem
    return pandas


def size_text(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1024
    return f"{value:.2f} TiB"
