"""The size of a job from its specification: its updates, its samples, its images."""

from __future__ import annotations

from typing import Optional

from normlab.specs.datasets import DATASETS, IMAGE_FOLDER_SIZE
from normlab.specs.jobs import JobSpec


def steps(spec: JobSpec) -> Optional[int]:
    """Return the updates of the whole job, or None if only the dataset's files tell."""
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


def train_size(spec: JobSpec) -> Optional[int]:
    """Return the number of training samples, or None if only the files tell."""
    facts = DATASETS.get(spec.dataset.name)
    if facts is None or facts.train_size is None:
        return None
    return min(facts.train_size, spec.dataset.train_size or facts.train_size)


def image_size(spec: JobSpec) -> Optional[int]:
    """Return the side of the job's images; None for an unknown dataset."""
    facts = DATASETS.get(spec.dataset.name)
    if facts is None:
        return None
    return facts.image_size or spec.dataset.image_size or IMAGE_FOLDER_SIZE
