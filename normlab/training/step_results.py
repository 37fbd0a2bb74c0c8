"""The results of a training so far; they are read from the device in groups."""

from __future__ import annotations

import math
import time
from typing import Any, Dict, List, Tuple

import torch

from normlab.errors import LossNotFinite
from normlab.training.accelerator import StepResult
from normlab.training.reporting import Reporter

_MOST = 100  # largest number of results that wait on the device
_INTERVAL_S = 0.5  # and the longest time


class StepResults:
    """
    The results of the steps, kept on the device until several can be read together.

    Reading a number waits for the device, so it is done for many steps at a time. So a loss that is
    not finite is detected a little later, but reported with its own step.

    Args:
        reporter: receives every number.
        counts: whether the task defines which predictions are correct.
    """

    def __init__(self, reporter: Reporter, counts: bool = True) -> None:
        self._reporter = reporter
        self._counts = counts
        self._waiting: List[Tuple[int, StepResult, float]] = []
        self._drained_at = time.monotonic()
        self.last: Dict[str, float] = {}  # the newest value of each metric
        self._correct = 0
        self._predictions = 0

    def add(self, step: int, result: StepResult, learning_rate: float) -> bool:
        """Take the results of update *step*; return whether everything was read now."""
        self._waiting.append((step, result, learning_rate))
        now = time.monotonic()
        if len(self._waiting) < _MOST and now - self._drained_at < _INTERVAL_S:
            return False
        self.drain()
        return True

    def drain(self) -> None:
        """
        Read and report all pending results.

        Raises:
            LossNotFinite: at the first step whose loss is NaN or infinite.
        """
        self._drained_at = time.monotonic()
        if not self._waiting:
            return
        losses = torch.stack([result.loss for _, result, _ in self._waiting]).tolist()
        correct = torch.stack([result.correct for _, result, _ in self._waiting])
        self._correct += int(correct.sum())
        self._predictions += sum(result.predictions for _, result, _ in self._waiting)
        for (step, _, learning_rate), loss in zip(self._waiting, losses):
            self._check(step, loss)
            self._reporter.metric("train/loss", step, loss)
            self._reporter.metric("train/learning_rate", step, learning_rate)
        self.last["train/loss"] = losses[-1]
        self._waiting.clear()

    def end_epoch(self, step: int) -> None:
        """Report the epoch's training accuracy and begin the next."""
        self.drain()
        if self._predictions and self._counts:
            self.report("train/accuracy", step, self._correct / self._predictions)
        self._correct = self._predictions = 0

    def report(self, name: str, step: int, value: float) -> None:
        """Report one number now."""
        self.last[name] = value
        self._reporter.metric(name, step, value)

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {"last": dict(self.last), "correct": self._correct, "samples": self._predictions}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self.last = dict(state["last"])
        self._correct, self._predictions = state["correct"], state["samples"]

    def _check(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            self._reporter.metric("train/loss", step, loss)
            raise LossNotFinite(
                f"the loss became {loss} at step {step}; lower the learning rate, warm up "
                "longer, or clip the gradient (optimizer.clip_norm)"
            )
