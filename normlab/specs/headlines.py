"""Metrics by name: what a study shows where nobody asks, and which of them measure a machine."""

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


def is_timing(metric: str) -> bool:
    """Whether *metric* measures speed or memory of a job, which an emulation or a pack cannot."""
    return metric.startswith(("time/", "device/")) or metric.endswith("_per_s")
