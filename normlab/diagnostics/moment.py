"""The data that observers of a training receive, and the moments at which they are called."""

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
    The state of a training when an observer is called.

    Args:
        step: the number of finished updates.
        steps_per_epoch: updates in an epoch.
        learning_rate: the learning rate of the last update.
        batch_size: the number of samples in one call of a normalizer.
        model: the model, which may only be read; change copies instead.
        loss: function of output and target.
        train: returns the samples and classes of one update.
        test: returns a given number of samples of the test set, and their classes.
        metric: records a metric, given its name and value.
        record: records results that are not a series.
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
        """Report the finite ones of *values*, as `group/name`."""
        for name, value in values.items():
            if math.isfinite(value):
                self.metric(f"{group}/{name}", value)

    def metrics_of_sites(self, group: str, found: Mapping[str, Mapping[str, float]]) -> None:
        """Report the values *found* at each site by name, and the mean over sites as `all`."""
        everywhere: Dict[str, List[float]] = {}
        for site, values in found.items():
            for name, value in values.items():
                self.metric(f"{group}/{site}/{name}", value)
                everywhere.setdefault(name, []).append(value)
        for name, several in everywhere.items():
            self.metric(f"{group}/all/{name}", sum(several) / len(several))


class Observer:
    """Observes a training; subclasses override the methods for the moments that they need."""

    def after_update(self, moment: Moment) -> None:
        """Called after an update."""

    def after_epoch(self, moment: Moment) -> None:
        """Called after an epoch."""

    def at_end(self, moment: Moment) -> None:
        """Called at the end."""

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether to call `after_update` at this step."""
        return False

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
