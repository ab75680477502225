"""The options of a recording: named, explained and checked once."""

from __future__ import annotations

import math
import os
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Optional, Union

from ._schedule import Schedule

MOST_ENTRIES = 5_000_000

LEAN_ACTIONS = ("free_requested", "snapshot")
"""What ``skip_actions="lean"`` leaves out: about a third of the events. Every free is recorded still,
as completed; how long it waited for other streams, and its stack, are not."""


@dataclass(frozen=True)
class Options:
    """How to record. The same for `enable`, `profile` and ``gpumemprof run``."""

    out: Union[str, os.PathLike[str]] = "gpumemprof-runs"
    """Where this process's folder goes, made when there is something to write."""
    max_entries: int = 200_000
    """Events kept, the newest. What one takes of host memory grows with the depth of its Python stack:
    0.35 KB at 5 frames, 1.6 KB at 100, 5.6 KB at 400 (measured). At 100 frames these take 0.3 GB."""
    stacks: str = "python"
    """``"python"``, or ``"all"`` for C++ frames too at about twice the time per allocation."""
    schedule: Optional[Schedule] = None
    """Which steps; None for all."""
    labels: bool = True
    """Whether allocations get module, phase and step."""
    on_oom: bool = True
    """Whether out-of-memory errors are watched for."""
    oom_budget_s: float = 20.0
    """How long such an error may be held up before it goes on its way."""
    sample_hz: float = 10.0
    """How often NVML is asked; 0 never."""
    signal: Optional[Union[int, str]] = None
    """A signal that dumps now, as ``"USR1"``."""
    skip_actions: Optional[Union[str, Sequence[str]]] = None
    """Actions that PyTorch (2.11 and later) is not to record, or ``"lean"``: see `LEAN_ACTIONS`."""
    report: bool = True
    """Whether an out-of-memory error gets its HTML report."""
    prometheus: Optional[Union[int, str]] = None
    """A port to serve the machine's devices and processes on as metrics, at 127.0.0.1, or an address
    with a port as ``"0.0.0.0:9400"``. Of a machine's ranks the first that gets it serves for all."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_entries <= MOST_ENTRIES:
            raise ValueError(
                f"expected max_entries from 1 to {MOST_ENTRIES}, found {self.max_entries}: PyTorch keeps "
                "0.3 to 6 KB of host memory per entry, by the depth of the stacks"
            )
        if self.stacks not in ("python", "all"):
            raise ValueError(
                "expected stacks 'python' or 'all' (with C++, about twice the time per allocation), "
                f"found {self.stacks!r}"
            )
        if not (math.isfinite(self.sample_hz) and self.sample_hz >= 0):
            raise ValueError(f"expected sample_hz as a number from 0 (never) on, found {self.sample_hz!r}")
        if math.isnan(self.oom_budget_s) or self.oom_budget_s < 0:
            raise ValueError(f"expected oom_budget_s as seconds from 0 on, found {self.oom_budget_s!r}")
        if self.signal is not None:
            signal_number(self.signal)
        if self.prometheus is not None:
            address_and_port(self.prometheus)
        if isinstance(self.skip_actions, str) and self.skip_actions != "lean":
            raise ValueError(f"expected skip_actions as a list of actions or 'lean', found {self.skip_actions!r}")

    @property
    def skipped(self) -> list[str]:
        """The actions that are not to be recorded."""
        return list(LEAN_ACTIONS if self.skip_actions == "lean" else self.skip_actions or ())

    def changed(self) -> list[str]:
        """The names of those that are not as by default."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """The options among ``given``: a call's own arguments."""
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})


def signal_number(name: Union[int, str]) -> int:
    """The number of ``USR1``, ``SIGUSR1`` or ``10``. One that cannot be handled is refused."""
    if isinstance(name, str) and not name.isdigit():
        full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
        number = getattr(signals, full, None)
        if not isinstance(number, signals.Signals):
            raise ValueError(f"no signal is called {name!r}: expected one as USR1 or SIGUSR1")
    else:
        number = int(name)
        if number not in signals.valid_signals():
            raise ValueError(f"no signal has the number {number}: expected one as USR1 or SIGUSR1")
    for never in ("SIGKILL", "SIGSTOP"):
        if number == getattr(signals, never, None):
            raise ValueError(f"{never} cannot be handled by any program: expected another signal, as USR1")
    return int(number)


def address_and_port(text: Union[int, str]) -> tuple[str, int]:
    """``9400`` or ``0.0.0.0:9400``, taken apart."""
    address, _, port = str(text).rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected a port as 9400, or an address and a port as 0.0.0.0:9400, found {text!r}")
    return address or "127.0.0.1", int(port)
