"""What ran when in which thread, for PyTorch before 2.10, whose events carry no label."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable

_now, _thread = time.time_ns, threading.get_ident


class SpanLog:
    """What each thread ran from which time on; the newest ``capacity`` entries."""

    def __init__(self, capacity: int) -> None:
        self._entries: deque[tuple[int, str, int]] = deque(maxlen=capacity)
        self.add = _adder(self._entries)
        """``text`` is what the calling thread runs from now on; "" for nothing known."""

    def add_for(self, text: str, thread: int) -> None:
        """The same of another thread."""
        self._entries.append((_now(), text, thread))

    def document(self) -> tuple[list[str], dict[str, list[int]]]:
        """The labels, and the spans that name them by position, oldest first."""
        labels: dict[str, int] = {}
        threads: dict[int, int] = {}
        times, positions, numbers = [], [], []
        for now, text, thread in list(self._entries):
            times.append(now // 1000)
            positions.append(labels.setdefault(text, len(labels)) if text else -1)
            numbers.append(threads.setdefault(thread, len(threads)))
        return list(labels), {"time_us": times, "label": positions, "thread": numbers}


def _adder(entries: deque[tuple[int, str, int]]) -> Callable[[str], None]:
    """A function instead of a method: it runs four times for each module call."""
    append, now, thread = entries.append, _now, _thread

    def add(text: str) -> None:
        # One append, which is atomic: no lock is held while a thread may be interrupted.
        append((now(), text, thread()))

    return add
