"""The metric of a study that is shown and compared by default."""

from __future__ import annotations

from typing import Any, Mapping

from normlab.specs.datasets import DATASETS
from normlab.specs.tasks import TASKS

ACCURACY = "val/accuracy"


def headline_of(base: Mapping[str, Any]) -> str:
    """
    Return the headline metric of the task of a study's jobs.

    Args:
        base: the study's base job; without a dataset, the headline is the accuracy.
    """
    dataset = base.get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    facts = DATASETS.get(name) if isinstance(name, str) else None
    task = None if facts is None else TASKS.get(facts.task)
    return ACCURACY if task is None else task.headline
