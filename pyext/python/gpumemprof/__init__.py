"""Explains PyTorch GPU memory: record, attribute, and report after an out-of-memory error.

    import gpumemprof
    gpumemprof.enable()                # record; write a report if the job runs out of memory

    with gpumemprof.profile(model, optimizer, out="runs/a") as prof:
        for batch in loader:
            train(batch)
            prof.step()
    prof.report()                      # or prof.snapshot().peak(by="layer"), .to_pandas(), …

    gpumemprof.read("snapshot.pickle").peak(by="category")

PyTorch is imported only when something is recorded: reading snapshots needs neither it nor a GPU.
"""

from __future__ import annotations

from ._native import (
    Error,
    NotInSnapshotError,
    ReadError,
    RecordingError,
    __version__,
)
from ._pack import pack, unpack
from ._profile import Profile, disable, dump, enable, poll, profile
from ._schedule import Schedule
from ._snapshot import Breakdown, Group, Snapshot, oom_messages, read

__all__ = [
    "Breakdown",
    "Error",
    "Group",
    "NotInSnapshotError",
    "Profile",
    "ReadError",
    "RecordingError",
    "Schedule",
    "Snapshot",
    "__version__",
    "disable",
    "dump",
    "enable",
    "oom_messages",
    "pack",
    "poll",
    "profile",
    "read",
    "unpack",
]
