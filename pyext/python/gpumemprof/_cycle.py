"""Where a training step ends, where the program does not say so."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any


class Cycle:
    """The optimizers that make up a step.

    A step is over with the first forward pass after every optimizer of the training has stepped, so the two
    of a GAN make one step together. An optimizer that steps a second time before the others did shows that
    they do not belong to every step: a step ends there, and they are waited for no more. One that first appears
    in the second step at the latest belongs to the training, and ends the step in which it appears, as it was
    not waited for; one that appears later is as those that some steps go without. One that steps within a
    backward pass (an optimizer for each parameter) ends the step with that pass.
    """

    def __init__(self) -> None:
        self.is_over = False
        """Whether the next forward pass begins a new step."""
        # By identity: this runs in the program's own time, and sets of weak references cost 1 µs a question.
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._known: set[int] = set()
        self._irregular: set[int] = set()
        """Those that some steps go without."""
        self._stepped: set[int] = set()
        self._ended = 0
        """Steps in which an optimizer stepped."""

    def expect(self, optimizers: Iterable[Any]) -> None:
        """These belong to every step."""
        for optimizer in optimizers:
            self._known.add(self._meet(optimizer))

    def note(self, optimizer: Any, is_in_backward: bool) -> bool:
        """An optimizer is about to step; whether a new step begins with it."""
        if is_in_backward:
            self.is_over = True
            return False
        key = id(optimizer)
        begins = key in self._stepped
        if begins:
            missing = self._known - self._stepped
            self._known -= missing
            self._irregular |= missing
            self.begin()
        elif key not in self._alive:
            self._meet(optimizer)
            if self._ended > 1:
                self._irregular.add(key)
            else:
                self._stepped |= self._known
                self._known.add(key)
        self._stepped.add(key)
        self.is_over = self._known <= self._stepped
        return begins

    def begin(self) -> None:
        """A new step begins."""
        self.is_over = False
        if self._stepped:
            self._ended += 1
            self._stepped.clear()

    def _meet(self, optimizer: Any) -> int:
        key = id(optimizer)
        if key not in self._alive:

            def forget(_: Any) -> None:
                del self._alive[key]
                for found in (self._known, self._irregular, self._stepped):
                    found.discard(key)

            self._alive[key] = weakref.ref(optimizer, forget)
        return key
