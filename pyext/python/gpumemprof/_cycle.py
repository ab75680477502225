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
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._irregular: weakref.WeakSet[Any] = weakref.WeakSet()
        """Those that some steps go without."""
        self._stepped: weakref.WeakSet[Any] = weakref.WeakSet()
        self._ended = 0
        """Steps in which an optimizer stepped."""

    def expect(self, optimizers: Iterable[Any]) -> None:
        """These belong to every step."""
        self._known.update(optimizers)

    def note(self, optimizer: Any, is_in_backward: bool) -> bool:
        """An optimizer is about to step; whether a new step begins with it."""
        if is_in_backward:
            self.is_over = True
            return False
        begins = optimizer in self._stepped
        if begins:
            missing = [other for other in self._known if other not in self._stepped]
            self._known.difference_update(missing)
            self._irregular.update(missing)
            self.begin()
        elif optimizer not in self._known and optimizer not in self._irregular:
            if self._ended > 1:
                self._irregular.add(optimizer)
            else:
                self._stepped.update(self._known)
                self._known.add(optimizer)
        self._stepped.add(optimizer)
        self.is_over = all(other in self._stepped for other in self._known)
        return begins

    def begin(self) -> None:
        """A new step begins."""
        self.is_over = False
        self._ended += len(self._stepped) > 0
        self._stepped.clear()
