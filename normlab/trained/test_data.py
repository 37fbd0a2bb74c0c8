"""The test set of a job, in the batches of its evaluation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab import norms
from normlab.data.training_data import TrainingData
from normlab.specs.jobs import JobSpec
from normlab.training.evaluation import batch_rows, evaluate
from normlab.training.scoring import PlainSession


class TestData:
    """
    The test set of a job: iterate over its batches, or evaluate a network on it.

    Args:
        spec: the specification of the job.
        data: its dataset.
        threads: the number on which the job computed; None: as many as torch uses here. The order
            of sums depends on it.
    """

    __test__ = False  # not a class of tests, despite its name

    def __init__(self, spec: JobSpec, data: TrainingData, threads: Optional[int] = None) -> None:
        self.spec = spec
        self.num_classes = data.num_classes
        self._data = data
        self._threads = threads

    def __len__(self) -> int:
        return self._data.test_size

    def __iter__(self) -> Iterator[Tuple[Tensor, Tensor]]:
        """Yield standardized batches for the network, and their classes."""
        size = batch_rows(self.spec.batch_size, self._data.image_size)
        yield from self._data.test_batches(size)

    def evaluate(self, model: nn.Module) -> Dict[str, float]:
        """Return the metrics of *model* as the job's own evaluation computes them."""
        with _as_in_the_job(self.spec, self._threads):
            return evaluate(PlainSession(model, self.spec), self._data, self.spec)


@contextmanager
def _as_in_the_job(spec: JobSpec, threads: Optional[int]) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with norms.fused_kernels(spec.acceleration == "kernels"):
            yield
    finally:
        torch.set_num_threads(before)
