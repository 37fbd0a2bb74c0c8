"""Measure the time of a training, over all its attempts."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Tuple


class Clock:
    """
    Seconds spent in updates, apart from those spent in evaluation and checkpoints.

    Both continue from a checkpoint; the time of a lost attempt after it does not count.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._earlier_s = 0.0
        self.training_s = 0.0
        self._epoch_s = 0.0
        self._epoch_steps = 0

    @property
    def seconds(self) -> float:
        """Return the seconds since the training began."""
        return self._earlier_s + time.monotonic() - self._began

    @contextmanager
    def training(self, steps: int = 1) -> Iterator[None]:
        """Count the time inside as this many updates."""
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        self.training_s += spent
        self._epoch_s += spent
        self._epoch_steps += steps

    def end_epoch(self) -> Tuple[float, int]:
        """Return the epoch's seconds and updates, and begin the next."""
        ended = self._epoch_s, self._epoch_steps
        self._epoch_s, self._epoch_steps = 0.0, 0
        return ended

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {
            "seconds": self.seconds,
            "training_s": self.training_s,
            "epoch_s": self._epoch_s,
            "epoch_steps": self._epoch_steps,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self._began = time.monotonic()
        self._earlier_s = state["seconds"]
        self.training_s = state["training_s"]
        self._epoch_s, self._epoch_steps = state["epoch_s"], state["epoch_steps"]
