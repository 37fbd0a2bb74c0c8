"""Check a whole job: first its spec by rules, then its model on tensors without data."""

from __future__ import annotations

import copy
from functools import partial
from typing import Tuple

import torch
from torch import Tensor, nn

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.ipu_check import OpCheck
from normlab.ipu_check.trace import check_model, meta_batch
from normlab.nets import build
from normlab.nets.factories import Report
from normlab.specs.augmentations import RandomResizedCrop
from normlab.specs.device_rules import problems
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.sizes import image_size, task_of
from normlab.specs.tasks import filled
from normlab.specs.zoo import without_weights
from normlab.training.tasks import Task

_UNKNOWN_CLASSES = 1000  # where the files decide; the number does not change the operators


def check_job(spec: JobSpec) -> OpCheck:
    """Check whether an IPU can train *spec*, without computing anything."""
    static = tuple(str(problem) for problem in problems(spec, "ipu"))
    if static:  # the job is refused already, so its model need not be built
        return OpCheck(static, (), torch.__version__)
    return _check(norms.plain_operators(meta_model(spec)), spec)


def check_for_training(model: nn.Module, spec: JobSpec) -> OpCheck:
    """Check the *model* that is about to be trained, without changing it."""
    return _check(copy.deepcopy(model).to("meta"), spec)


def _check(model: nn.Module, spec: JobSpec) -> OpCheck:
    return check_model(model, Task(spec).loss, *training_example(spec, spec.batch_size))


def training_example(spec: JobSpec, rows: int) -> Tuple[Tensor, Tensor]:
    """Return *rows* samples as an update sees them: resized, and with mixed targets."""
    channels, classes, size = inputs(spec)
    for one in spec.augmentations:
        size = (one.size if isinstance(one, RandomResizedCrop) else None) or size
    x, y = _batch(spec, rows, channels, size)
    if any(one.mixes for one in spec.augmentations) and not y.is_floating_point():
        y = torch.empty(rows, classes, device="meta")
    return x, y


def example(spec: JobSpec, rows: int) -> Tuple[Tensor, Tensor]:
    """Return a batch of *rows* samples without data, and their classes."""
    channels, _, size = inputs(spec)
    return _batch(spec, rows, channels, size)


def _batch(spec: JobSpec, rows: int, channels: int, size: int) -> Tuple[Tensor, Tensor]:
    task = task_of(spec)
    target = filled(task.target_shape(channels, size))
    x, y = meta_batch(rows, task.input_shape(channels, size), target)
    return x, y if task.classes else y.float()


def meta_model(spec: JobSpec, report: Report = None) -> nn.Module:
    """
    Build the job's network on the meta device, with shapes but without memory.

    Args:
        report: receives the conversion report, if norm layers are exchanged.
    """
    channels, classes, size = inputs(spec)
    fresh = spec.model.model_copy(
        update={"options": without_weights(spec.model.name, spec.model.options)}
    )
    make = partial(
        build, fresh, spec.normalizer, channels, classes, size, report, task_of(spec).name
    )
    try:
        with torch.device("meta"):
            return make()
    except RuntimeError:  # building it reads a value: the CPU has one, or gives a clearer error
        if MODELS[spec.model.name].package is None:
            raise
        return make().to("meta")


def inputs(spec: JobSpec) -> Tuple[int, int, int]:
    """
    Return the channels of the job's images, their classes, and the pixels of a side.

    Raises:
        InvalidSpec: the dataset is unknown, or its file was not inspected.
    """
    facts, size = spec.dataset.facts(), image_size(spec)
    if facts is None or facts.channels is None or size is None:
        raise InvalidSpec(f"dataset.name: the sizes of {spec.dataset.name!r} are not known here")
    return facts.channels, facts.num_classes or _UNKNOWN_CLASSES, size
