"""The augmentations of a job, with what they need to know of its data."""

from __future__ import annotations

from normlab.data.augmenting import Augmenting
from normlab.data.levels import levels_of
from normlab.data.training_data import TrainingData
from normlab.specs.jobs import JobSpec


def augmenting_of(spec: JobSpec, data: TrainingData) -> Augmenting:
    """Return the augmentations of *spec*, for *data* where its samples are."""
    sees_images = any(one.pixels for one in spec.augmentations)
    return Augmenting(
        first=spec.augmentation.members(),
        others=spec.augmentations,
        micro_batch=spec.batch_size,
        levels=levels_of(data) if sees_images else None,
    )
