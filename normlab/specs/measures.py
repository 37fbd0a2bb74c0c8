"""The facts about metrics and hooks that jobs can name. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple, Type

from normlab.specs.base import Spec
from normlab.specs.registries import HOOKS as HOOK, METRICS as METRIC, Registry


@dataclass(frozen=True)
class MetricFacts:
    """
    The facts about a metric, a number over the test set.

    Attributes:
        path: the module:object, a `training.tasks.Measure` or an author's own.
        tasks: the tasks for which it has a meaning; empty for all.
        options: the options that a job may set.
    """

    name: str
    summary: str
    path: str
    tasks: Tuple[str, ...] = ()
    options: Type[Spec] = Spec


@dataclass(frozen=True)
class HookFacts:
    """The facts about a hook, which runs after updates and epochs; *path* is module:class."""

    name: str
    summary: str
    path: str
    options: Type[Spec] = Spec


_CLASSES = ("classification", "segmentation", "language")
METRICS: Registry[MetricFacts] = Registry(
    METRIC,
    {
        "val/jaccard": MetricFacts(
            "val/jaccard",
            "mean over classes of intersection over union of the positions",
            "normlab.training.tasks:JACCARD",
            _CLASSES,
        ),
        "val/perplexity": MetricFacts(
            "val/perplexity",
            "exp of the mean negative log-likelihood, without smoothing",
            "normlab.training.tasks:PERPLEXITY",
            _CLASSES,
        ),
        "val/map": MetricFacts(
            "val/map",
            "mean over classes and overlaps of .5 to .95 of the average precision, as COCO has it",
            "normlab.training.average_precision:MAP",
            ("detection",),
        ),
        "val/map50": MetricFacts(
            "val/map50",
            "mean over classes of the average precision at an overlap of .5",
            "normlab.training.average_precision:MAP50",
            ("detection",),
        ),
        "val/content_loss": MetricFacts(
            "val/content_loss",
            "distance of the features from those of the content",
            "normlab.training.style:CONTENT",
            ("style",),
        ),
        "val/style_loss": MetricFacts(
            "val/style_loss",
            "distance of the features' products from those of the style, weighted",
            "normlab.training.style:STYLE",
            ("style",),
        ),
    },
)
HOOKS: Registry[HookFacts] = Registry(HOOK, {})


def is_timing(metric: str) -> bool:
    """
    Whether *metric* is the speed or the memory of a job.

    It differs between machines, and an emulation or a pack cannot measure it.
    """
    return metric.startswith(("time/", "device/")) or metric.endswith("_per_s")
