"""One batch in evaluation: the predictions of a network, and their score."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import StepResult
from normlab.training.tasks import Task, tallies_of

_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def reduced_precision(spec: JobSpec) -> Optional[torch.dtype]:
    """Return the dtype of *spec*'s activations; None for float32."""
    return _PRECISIONS.get(spec.precision)


def outputs(model: nn.Module, x: Tensor, dtype: Optional[torch.dtype]) -> Tensor:
    """Return *model*'s predictions for *x*, with activations in *dtype*; None means float32."""
    if dtype is None:
        found: Tensor = model(x)
    else:
        with torch.autocast(x.device.type, dtype=dtype):
            found = model(x)
    return found


class Scorer:
    """
    Scores predictions as a job's evaluation does.

    Args:
        spec: the job.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._task = Task(spec)
        self._tallies = tallies_of(spec)

    def __call__(self, output: Tensor, y: Tensor) -> StepResult:
        """Return loss, correct predictions and tallies of *output* for the targets *y*."""
        loss = self._task.loss(output, y)
        hits = self._task.correct(output, y)
        return StepResult(loss, hits, self._task.predictions(y), self._tallies(output, y))


class PlainSession:
    """
    A network in plain PyTorch that is only evaluated, in the same way as by the sessions of
    devices.

    Args:
        model: the network, on the device of the batches.
        spec: the job that trained it.
    """

    def __init__(self, model: nn.Module, spec: JobSpec) -> None:
        self._model = model
        self._dtype = reduced_precision(spec)
        self._score = Scorer(spec)

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* with the targets *y*, in evaluation mode."""
        if self._model.training:
            self._model.eval()
        return self._score(outputs(self._model, x, self._dtype), y)
