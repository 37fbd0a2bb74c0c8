"""Evaluate a network on the test set."""

from __future__ import annotations

from typing import Dict

import torch
from torch import Tensor
from typing_extensions import Protocol

from normlab.data.training_data import TrainingData
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import task_of
from normlab.training.accelerator import StepResult
from normlab.training.tasks import measures_of

_PIXELS = 2**18  # of a batch: large enough to be fast, small enough for the caches


class Evaluates(Protocol):
    """Evaluates a batch: a device's session, or a network in plain PyTorch."""

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* in evaluation mode, and change nothing."""


def evaluate(session: Evaluates, data: TrainingData, spec: JobSpec) -> Dict[str, float]:
    """
    Return the metrics of the whole test set, in batches of the job's size or more.

    They are the mean loss and accuracy over all predictions, and the measures of task and job.
    """
    size = batch_rows(spec.batch_size, data.image_size)
    results = [session.evaluate(x, y) for x, y in data.test_batches(size)]
    n = sum(result.predictions for result in results)
    losses = torch.stack([result.loss.double() * result.predictions for result in results])
    correct = torch.stack([result.correct for result in results])
    found = {"val/loss": float(losses.sum()) / n}
    if task_of(spec).counts:
        found["val/accuracy"] = int(correct.sum()) / n
    for name, measure in measures_of(spec).items():
        whole = measure.whole([result.tallies[name] for result in results])
        found[name] = float(measure.value(whole.cpu()))
    return found


def batch_rows(batch_size: int, image_size: int) -> int:
    """Return the number of samples in one batch of the evaluation."""
    return max(batch_size, _PIXELS // image_size**2)
