"""The facts about metrics and hooks that jobs can name. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple, Type

from normlab.specs.base import Spec
from normlab.specs.registries import HOOKS as HOOK
from normlab.specs.registries import METRICS as METRIC
from normlab.specs.registries import Registry


@dataclass(frozen=True)
class MetricFacts:
    """
    A number over the test set.

    Attributes:
        path: module:object, a `training.tasks.Measure` or what an author declared.
        tasks: it has a meaning for; none: for every one.
        options: what a job may set.
    """

    name: str
    summary: str
    path: str
    tasks: Tuple[str, ...] = ()
    options: Type[Spec] = Spec


@dataclass(frozen=True)
class HookFacts:
    """What runs at the end of updates and epochs; *path* is the module:class."""

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
            "mean over classes of the shared over the joint positions",
            "normlab.training.tasks:JACCARD",
            _CLASSES,
        ),
        "val/perplexity": MetricFacts(
            "val/perplexity",
            "exp of the mean negative log-likelihood, without smoothing",
            "normlab.training.tasks:PERPLEXITY",
            _CLASSES,
        ),
    },
)
HOOKS: Registry[HookFacts] = Registry(HOOK, {})
