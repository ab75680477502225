"""What each thread is in."""

from __future__ import annotations

import threading
from typing import Any, Optional

from ._names import Record


class State:
    """What one thread is in."""

    __slots__ = ("carrier", "current", "hooked", "node", "recomputes", "record", "stack", "task")

    def __init__(self) -> None:
        self.stack: list[tuple[str, Optional[Record]]] = []
        self.current = ""
        self.record: Optional[Record] = None
        self.node = ""
        """The label of the last graph node reached."""
        self.task = -1
        """The backward pass whose end this thread waits for."""
        self.hooked: set[int] = set()
        """Sequence numbers of graph nodes; each thread counts its own."""
        self.recomputes = False
        self.carrier: Any = None
        """This thread's own tensor to hang hooks on graph nodes with; None until it has one."""


class Local(threading.local):
    """A state for each thread."""

    def __init__(self) -> None:
        self.state = State()
