"""The data that observers of a training get, and when they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Tuple

from torch import Tensor, nn

from normlab.events import Diagnostic

Metric = Callable[[str, float], None]


@dataclass(frozen=True)
class Moment:
    """
    Where a training stands when an observer looks.

    Args:
        step: updates done.
        steps_per_epoch: updates in an epoch.
        learning_rate: of the last update.
        batch_size: what one call of a normalizer sees.
        model: to look at; what is changed must be a copy.
        loss: function of output and target.
        train: gives one update's samples and classes.
        test: gives so many samples and classes that were not trained on.
        metric: takes a metric's name and value.
        record: takes what is no plain series.
    """

    step: int
    steps_per_epoch: int
    learning_rate: float
    batch_size: int
    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    train: Callable[[], Tuple[Tensor, Tensor]]
    test: Callable[[int], Tuple[Tensor, Tensor]]
    metric: Metric
    record: Callable[[Diagnostic], None]


class Observer:
    """Observes a training; subclasses define what happens."""

    def after_update(self, moment: Moment) -> None:
        """Called after an update."""

    def after_epoch(self, moment: Moment) -> None:
        """Called after an epoch."""

    def at_end(self, moment: Moment) -> None:
        """Called at the end."""

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether `after_update` wants to see this step."""
        return False

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
