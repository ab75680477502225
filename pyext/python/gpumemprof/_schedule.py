"""Which steps are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Schedule:
    """Records steps ``first`` to ``last`` (both included), of those every ``every``-th.

    Each recorded stretch is written when it ends, so that turning PyTorch's recording off, which
    forgets its history, loses nothing. ``Schedule()`` records everything.
    """

    first: int = 0
    last: Optional[int] = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.first < 0 or self.every < 1 or (self.last is not None and self.last < self.first):
            raise ValueError(
                "expected first >= 0, last >= first and every >= 1, "
                f"found first={self.first}, last={self.last}, every={self.every}"
            )

    def includes(self, step: int) -> bool:
        """Whether step number ``step`` is recorded."""
        if step < self.first or (self.last is not None and step > self.last):
            return False
        return (step - self.first) % self.every == 0

    @property
    def is_always(self) -> bool:
        """Whether every step is recorded."""
        return self.first == 0 and self.last is None and self.every == 1

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Reads ``10``, ``10-20``, ``10-``, ``10-100/5`` (every fifth of them) or ``/5``."""
        span, _, every = text.partition("/")
        first, dash, last = span.partition("-")
        try:
            begin = int(first) if first else 0
            end: Optional[int]
            if dash:
                end = int(last) if last else None
            else:
                end = begin if first else None
            return cls(begin, end, int(every) if every else 1)
        except ValueError as problem:
            raise ValueError(f"cannot read {text!r} as steps: expected 10, 10-20, 10-, 10-100/5 or /5") from problem
