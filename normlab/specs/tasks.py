"""The tasks that networks learn: the model and the dataset of a job have the same task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from normlab.specs import registries
from normlab.specs.registries import Registry


@dataclass(frozen=True)
class TaskFacts:
    """
    A task, as plain facts.

    Args:
        predicts: the prediction of a network, in words.
        dims: dimensions of a sample's positions: 2 of an image, 1 of a sequence.
        dense: whether every position has a class, or the sample as a whole.
        measure: the metric of the test set besides val/loss and val/accuracy, if any.
        path: module:class with its loss; see `training.tasks.Task`.
        classes: a target is a class; else a number.
        smooths: the loss takes label_smoothing.
        counts: it says which predictions are correct, so there is an accuracy.
        mixes: the loss takes the mixed targets of mixed samples, probabilities of classes.
    """

    name: str
    predicts: str
    dims: int
    dense: bool
    measure: str = ""
    path: str = "normlab.training.tasks:ClassTask"
    classes: bool = True
    smooths: bool = True
    counts: bool = True
    mixes: bool = False

    def input_shape(self, channels: int, side: int) -> Tuple[int, ...]:
        """Return the shape of a sample with *side* positions in each dimension."""
        return (channels, *self.dims * (side,))

    def target_shape(self, side: int) -> Tuple[int, ...]:
        """Return the shape of a sample's classes; () is one class."""
        return self.dims * (side,) if self.dense else ()


_OWN = (
    TaskFacts("classification", "the class of an image", 2, False, mixes=True),
    TaskFacts("segmentation", "the class of each pixel", 2, True, "val/jaccard"),
    TaskFacts("language", "the character after each one", 1, True, "val/perplexity"),
)
TASKS: Registry[TaskFacts] = Registry(registries.TASKS, {facts.name: facts for facts in _OWN})
