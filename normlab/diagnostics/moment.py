"""The data that observers of a training get, and when they are called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Tuple

from torch import Tensor, nn

from normlab.events import Diagnostic

Loss = Callable[[Tensor, Tensor], Tensor]
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
    loss: Loss
    train: Callable[[], Tuple[Tensor, Tensor]]
    test: Callable[[int], Tuple[Tensor, Tensor]]
    metric: Metric
    record: Callable[[Diagnostic], None]

    def metrics(self, group: str, values: Mapping[str, float]) -> None:
        """Report those of *values* that are finite, as `group/name`."""
        for name, value in values.items():
            if math.isfinite(value):
                self.metric(f"{group}/{name}", value)

    def metrics_of_sites(self, group: str, found: Mapping[str, Mapping[str, float]]) -> None:
        """Report what was *found* at each site by name, and the mean over all sites as `all`."""
        everywhere: Dict[str, List[float]] = {}
        for site, values in found.items():
            for name, value in values.items():
                self.metric(f"{group}/{site}/{name}", value)
                everywhere.setdefault(name, []).append(value)
        for name, several in everywhere.items():
            self.metric(f"{group}/all/{name}", sum(several) / len(several))


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
