"""The metric of a study that is shown and compared by default."""

from __future__ import annotations

from typing import Any, Mapping

from normlab.specs.datasets import DATASETS
from normlab.specs.tasks import TASKS

ACCURACY = "val/accuracy"


def headline_of(base: Mapping[str, Any]) -> str:
    """
    Return the headline of the task that the jobs of a study have.

    Args:
        base: of the study; where it does not name the dataset, the accuracy is meant.
    """
    dataset = base.get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    facts = DATASETS.get(name) if isinstance(name, str) else None
    task = None if facts is None else TASKS.get(facts.task)
    return ACCURACY if task is None else task.headline
