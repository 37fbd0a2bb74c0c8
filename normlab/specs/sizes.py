"""The size of a job from its specification: its updates, its samples, its images."""

from __future__ import annotations

from typing import Optional

from normlab.errors import InvalidSpec
from normlab.specs.datasets import IMAGE_FOLDER_SIZE
from normlab.specs.jobs import JobSpec, under_its_code
from normlab.specs.tasks import TASKS, TaskFacts


@under_its_code
def steps(spec: JobSpec) -> Optional[int]:
    """Return the updates of the whole job, or None if only the dataset's files determine them."""
    per_epoch = steps_per_epoch(spec, train_size(spec))
    return total_steps(spec, per_epoch)


def steps_per_epoch(spec: JobSpec, samples: Optional[int]) -> Optional[int]:
    """Return the updates of an epoch over *samples*; an incomplete update is left out."""
    return None if samples is None else samples // spec.samples_per_update


def total_steps(spec: JobSpec, per_epoch: Optional[int]) -> Optional[int]:
    """Return the updates of the whole job with *per_epoch* updates per epoch."""
    if spec.epochs == 0:
        return 0
    if per_epoch is None:
        return None
    full = per_epoch * spec.epochs
    return full if spec.max_steps is None else min(full, spec.max_steps)


@under_its_code
def train_size(spec: JobSpec) -> Optional[int]:
    """Return the number of training samples, or None if only the files determine it."""
    facts = spec.dataset.facts()
    if facts is None or facts.train_size is None:
        return None
    return min(facts.train_size, spec.dataset.train_size or facts.train_size)


@under_its_code
def image_size(spec: JobSpec) -> Optional[int]:
    """Return the side of the job's images; None for an unknown dataset, or an unread file."""
    facts = spec.dataset.facts()
    if facts is None:
        return None
    if facts.of_pictures:
        return spec.dataset.image_size or IMAGE_FOLDER_SIZE
    return facts.image_size


@under_its_code
def task_of(spec: JobSpec) -> TaskFacts:
    """
    Return the task of the job's dataset.

    Raises:
        InvalidSpec: the dataset or its task is unknown.
    """
    facts = spec.dataset.facts()
    if facts is None or facts.task not in TASKS:
        raise InvalidSpec(
            f"dataset.name: the task of {spec.dataset.name!r} is unknown here; use a known dataset"
        )
    return TASKS[facts.task]
