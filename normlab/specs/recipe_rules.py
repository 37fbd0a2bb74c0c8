"""The rules for how a job trains: optimizer and schedule, loss, augmentations, dropout."""

from __future__ import annotations

from typing import Iterator, Optional

from normlab.errors import FieldProblem
from normlab.specs.augmentations import Augmentation, Crop, RandomResizedCrop
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.sizes import image_size
from normlab.specs.tasks import TASKS, TaskFacts

Problems = Iterator[FieldProblem]


def optimization(spec: JobSpec) -> Problems:
    """Yield the problems of optimizer and schedule."""
    optimizer, schedule = spec.optimizer, spec.schedule
    if optimizer.batch_scaling == "time_constant" and not optimizer.own.get("momentum"):
        rule = "time_constant needs sgd or rmsprop with momentum > 0; use 'linear'"
        yield FieldProblem("optimizer.batch_scaling", rule)
    if optimizer.weight_decay and not optimizer.decays:
        rule = f"{optimizer.name!r} ignores weight_decay; leave it out"
        yield FieldProblem("optimizer.weight_decay", rule)
    if 0 < spec.epochs < schedule.warmup_epochs:
        rule = f"{schedule.warmup_epochs:g} epochs of warm-up in a job of {spec.epochs}"
        yield FieldProblem("schedule.warmup_epochs", rule)


def drops(spec: JobSpec) -> Problems:
    """Yield the kinds of dropout that the network lacks."""
    model = MODELS.get(spec.model.name)
    for field in ("dropout", "stochastic_depth"):
        if model is not None and getattr(spec.model, field) and field not in model.drops:
            able = ", ".join(m.name for m in MODELS.values() if field in m.drops)
            rule = f"{model.name} has none; leave it out, or use one of {able}"
            yield FieldProblem(f"model.{field}", rule)


def loss(spec: JobSpec) -> Problems:
    """Yield the problems of the loss with the task."""
    task = _task(spec)
    if spec.loss is not None and task is not None and task.path != TaskFacts.path:
        rule = f"{spec.loss.name} is for classes, and {task.name} has a loss of its own"
        yield FieldProblem("loss", f"{rule}; leave it out")


def augmentations(spec: JobSpec) -> Problems:
    """Yield the problems of augmentations with the samples or their targets."""
    task = _task(spec)
    if task is None:
        return
    short = ((f"augmentation.{one.name}", one) for one in spec.augmentation.members())
    named = ((f"augmentations.{i}", one) for i, one in enumerate(spec.augmentations))
    for field, one in (*short, *named):
        if one.mixes:
            yield from _mixing(spec, task, field, one)
        elif one.tasks and task.name not in one.tasks:
            rule = f"{one.name!r} is for {', '.join(one.tasks)}: it changes samples and not the "
            yield FieldProblem(field, f"{rule}targets of {task.name}; leave it out")
        else:
            yield from _side(spec, field, one)


def _mixing(spec: JobSpec, task: TaskFacts, field: str, one: Augmentation) -> Problems:
    if not task.mixes:
        able = ", ".join(name for name, facts in TASKS.items() if facts.mixes)
        rule = f"{one.name!r} mixes targets, which the loss of {task.name} does not take"
        yield FieldProblem(field, f"{rule}; it is for {able}")
    if spec.batch_size < 2:
        rule = f"{one.name!r} mixes samples of one micro-batch, and batch_size=1 has one"
        yield FieldProblem(field, f"{rule}; raise batch_size")


def _side(spec: JobSpec, field: str, one: Augmentation) -> Problems:
    side, model = image_size(spec), MODELS.get(spec.model.name)
    if isinstance(one, Crop) and side is not None and one.pad >= side:
        yield FieldProblem(field, f"must be less than the images' side, {side}")
    size = one.size if isinstance(one, RandomResizedCrop) else None
    if size is not None and model is not None and size < model.min_image_size:
        rule = f"size={size}, and {model.name} needs images of {model.min_image_size} pixels"
        yield FieldProblem(field, f"{rule} or more")


def _task(spec: JobSpec) -> Optional[TaskFacts]:
    facts = spec.dataset.facts()
    if facts is None or (facts.of_arrays and facts.num_classes is None):
        return None  # only the file determines its task
    return TASKS.get(facts.task)
