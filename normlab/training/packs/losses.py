"""The losses of a pack's members, and how many of their predictions are correct."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.specs.jobs import JobSpec
from normlab.specs.registries import named_object
from normlab.specs.sizes import task_of
from normlab.training.losses import is_soft, log_probabilities
from normlab.training.tasks import ClassTask, Task


class Losses:
    """
    The losses of S members, each with its own smoothing of labels.

    Classes are scored together; any other task scores one member after the other.
    """

    def __init__(self, specs: Sequence[JobSpec]) -> None:
        self._tasks = [Task(spec) for spec in specs]
        smoothing = [spec.label_smoothing for spec in specs]
        self._smoothing = torch.tensor(smoothing, dtype=torch.float64)
        self._smooths = any(spec.label_smoothing for spec in specs)
        of_classes = named_object(task_of(specs[0]).path) is ClassTask
        self._takes_all = of_classes and specs[0].loss is None

    def __call__(self, outputs: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        """
        Return mean losses and counts of correct predictions.

        Shape:
            (S, N, K, ...) and (S, N, ...), or (S, N, K) of mixed classes -> (S,), (S,)
        """
        if self._takes_all:
            true = y.argmax(2) if is_soft(y) else y
            correct = (outputs.detach().argmax(2) == true).flatten(1).sum(1)
            return self._cross_entropies(outputs, y), correct
        each = list(zip(self._tasks, outputs, y))
        losses = torch.stack([task.loss(output, of) for task, output, of in each])
        return losses, torch.stack([task.correct(output.detach(), of) for task, output, of in each])

    def predictions(self, y: Tensor) -> int:
        """Count the predictions of one member, whose targets are *y*."""
        return self._tasks[0].predictions(y)

    def _cross_entropies(self, outputs: Tensor, y: Tensor) -> Tensor:
        members = len(outputs)
        log_p = log_probabilities(outputs.flatten(0, 1))
        if is_soft(y):
            each = -(log_p * y.flatten(0, 1)).sum(1)
        else:
            each = F.nll_loss(log_p, y.flatten(), reduction="none")
        losses = each.view(members, -1).mean(1)
        if not self._smooths:
            return losses
        s = self._smoothing = self._smoothing.to(losses)  # once; a recording allows no copies
        return (1 - s) * losses - s * log_p.view(members, -1).mean(1)
