"""Estimate the memory of a job by running an update of its model on tensors without data."""

from __future__ import annotations

import math
import weakref
from typing import Any, Dict

import psutil
import torch
import torch._dynamo  # torch.optim imports it for the first optimizer
import torch._inductor  # deterministic operators import it
from torch import Tensor

from accelerators.inspection.operations import Operations, tensors
from normlab.errors import InvalidSpec
from normlab.ipu_check.jobs import example, inputs, meta_model, training_example
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import task_of
from normlab.specs.tasks import filled
from normlab.training.evaluation import batch_rows
from normlab.training.optimizers import make_optimizer
from normlab.training.tasks import Task
from normlab.training.weight_average import weight_average

# Fitted to measured peaks of our networks, all within 15 % (docs/devices.md; tests repeat some).
_WORKSPACE = 1.75  # convolutions copy operands into blocks, and the allocator keeps freed memory
_LOADING = 1.9  # the raw data and the tensors made from it exist together for a moment


class LiveBytes:
    """Counts the bytes of all live storages that are added to it, and their peak."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self._known: Dict[int, Any] = {}

    def add(self, x: Tensor) -> None:
        """Count the storage of *x* until it is freed."""
        storage = x.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.finalize(storage, self._forget, key, size)
        self._known[key].atexit = False
        self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]

    def performed(self, func: Any, given: Any, result: Any) -> None:
        """Count the tensors that *func* has created."""
        for x in tensors(result):
            self.add(x)


def estimate(spec: JobSpec) -> int:
    """Return the estimated peak bytes of the training process of *spec* on a CPU."""
    model = _model(spec)  # first, because it imports the modules of a training process
    return _interpreter() + int(_LOADING * _dataset(spec)) + int(_WORKSPACE * model)


def _model(spec: JobSpec) -> int:
    model = meta_model(spec)
    live = LiveBytes()
    for tensor in (*model.parameters(), *model.buffers()):
        live.add(tensor)
    with Operations(live.performed):
        average = weight_average(model, spec)  # kept alive, as in a training
        _train(model, spec)
        _evaluate(model, spec)
        del average
    return live.peak


def _train(model: torch.nn.Module, spec: JobSpec) -> None:
    optimizer, task = make_optimizer(model, spec), Task(spec)
    model.train()
    for _ in range(2):  # the optimizer's state exists from the second update on
        x, y = training_example(spec, spec.batch_size)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(task.loss(model(x), y))
        optimizer.step()
        del x, y


@torch.no_grad()
def _evaluate(model: torch.nn.Module, spec: JobSpec) -> None:
    _, _, size = inputs(spec)
    test = spec.dataset.test_size or _facts(spec).test_size or 10**9
    rows = min(test, batch_rows(spec.batch_size, size))
    x, y = example(spec, rows)
    Task(spec).loss(model.eval()(x), y)


def _dataset(spec: JobSpec) -> int:
    facts = _facts(spec)
    channels, _, size = inputs(spec)
    train = spec.dataset.train_size or facts.train_size or 0
    test = spec.dataset.test_size or facts.test_size or 0
    task = task_of(spec)
    from_files = bool(facts.files) or facts.train_size is None
    inputs_bytes = math.prod(task.input_shape(channels, size)) * (1 if from_files else 4)
    numbers = math.prod(filled(task.target_shape(channels, size)))
    return (train + test) * (inputs_bytes + (8 if task.classes else 4) * numbers)


def _facts(spec: JobSpec) -> DatasetFacts:
    facts = spec.dataset.facts()
    if facts is None:
        raise InvalidSpec(f"dataset.name: unknown name {spec.dataset.name!r}")
    return facts


def _interpreter() -> int:
    # The memory of a training process before it creates tensors: this process has the same imports.
    return int(psutil.Process().memory_info().rss)
