"""The tasks that networks learn: the model and the dataset of a job have the same task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple, Type

from normlab.specs import registries
from normlab.specs.base import Spec
from normlab.specs.registries import Registry

Shape = Tuple[int, ...]
ANY = -1  # in a shape: any length, the same in every sample
BOX = 5  # numbers of an object: its class, and its left, top, right and bottom edge
ROWS = 16  # for objects, in what is estimated before a dataset is read


@dataclass(frozen=True)
class TaskFacts:
    """
    A task, as plain facts.

    Args:
        predicts: the prediction of a network, in words.
        dims: dimensions of a sample's positions: 2 of an image, 1 of a sequence.
        dense: whether every position has a class, or the sample as a whole.
        measures: the metrics of the test set besides val/loss and val/accuracy.
        path: module:class with its loss; see `training.tasks.Task`.
        classes: a target is a class; else a number.
        smooths: the loss takes label_smoothing.
        counts: it says which predictions are correct, so there is an accuracy.
        mixes: the loss takes the mixed targets of mixed samples, probabilities of classes.
        headline: the metric that is shown by default.
        check: module:function (name, y, num_classes) that refuses targets of the wrong form.
        target: from channels and side to the shape of a target, where it is not that of classes.
        output: from channels, classes and side to the shape of a prediction, likewise.
        options: what a job may set.
    """

    name: str
    predicts: str
    dims: int
    dense: bool
    measures: Tuple[str, ...] = ()
    path: str = "normlab.training.tasks:ClassTask"
    classes: bool = True
    smooths: bool = True
    counts: bool = True
    headline: str = "val/accuracy"
    check: str = ""
    target: Optional[Callable[[int, int], Shape]] = None
    output: Optional[Callable[[int, int, int], Shape]] = None
    options: Type[Spec] = Spec
    mixes: bool = False

    def input_shape(self, channels: int, side: int) -> Shape:
        """Return the shape of a sample with *side* positions in each dimension."""
        return (channels, *self.dims * (side,))

    def target_shape(self, channels: int, side: int) -> Shape:
        """Return the shape of a sample's target; () is one class, and `ANY` any length."""
        if self.target is not None:
            return self.target(channels, side)
        return self.dims * (side,) if self.dense else ()

    def output_shape(self, channels: int, classes: int, side: int) -> Shape:
        """Return the shape of the prediction for a sample; `ANY` is any length."""
        if self.output is not None:
            return self.output(channels, classes, side)
        return (classes, *self.target_shape(channels, side))


def fits(found: Shape, expected: Shape) -> bool:
    """Return whether *found* is *expected*, where `ANY` is any length."""
    return len(found) == len(expected) and all(e in (f, ANY) for f, e in zip(found, expected))


def written(shape: Shape) -> str:
    """Write *shape* for people."""
    return str(shape).replace(str(ANY), "any")


def filled(shape: Shape) -> Shape:
    """Return *shape* with a usual length in the place of `ANY`."""
    return tuple(ROWS if n == ANY else n for n in shape)


_OWN = (
    TaskFacts("classification", "the class of an image", 2, False, mixes=True),
    TaskFacts("segmentation", "the class of each pixel", 2, True, ("val/jaccard",)),
    TaskFacts("language", "the character after each one", 1, True, ("val/perplexity",)),
    TaskFacts(
        "detection",
        "the class and the box of each object",
        dims=2,
        dense=False,
        measures=("val/map", "val/map50"),
        path="normlab.training.detection:DetectionTask",
        classes=False,
        smooths=False,
        counts=False,
        headline="val/map",
        check="normlab.data.boxes:check",
        target=lambda channels, side: (ANY, BOX),
        output=lambda channels, classes, side: (classes + BOX - 1, ANY, ANY),
    ),
    TaskFacts(
        "style",
        "the picture in another style",
        dims=2,
        dense=True,
        measures=("val/content_loss", "val/style_loss"),
        path="normlab.training.style:StyleTask",
        classes=False,
        smooths=False,
        counts=False,
        headline="val/loss",
        target=lambda channels, side: (2 * channels, side, side),
        output=lambda channels, classes, side: (channels, side, side),
    ),
)
TASKS: Registry[TaskFacts] = Registry(registries.TASKS, {facts.name: facts for facts in _OWN})
