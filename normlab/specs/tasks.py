"""The tasks that networks learn: the model and the dataset of a job have the same task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple, Type

from normlab.specs import registries
from normlab.specs.base import Spec
from normlab.specs.registries import Registry

Shape = Tuple[int, ...]
ANY = -1  # in a shape: any length that is the same in every sample
BOX = 5  # the numbers of an object: its class, and its left, top, right and bottom edge
ROWS = 16  # a usual number of objects, for estimates before a dataset is read


@dataclass(frozen=True)
class TaskFacts:
    """
    The facts about a task.

    Args:
        predicts: the prediction of a network, in words.
        dims: the dimensions of a sample's positions: 2 for images, 1 for sequences.
        dense: whether every position has a class; otherwise each sample has one.
        measures: the metrics of the test set besides val/loss and val/accuracy.
        path: the module:class with its loss; see `training.tasks.Task`.
        classes: whether a target is a class; otherwise it is a number.
        smooths: whether the loss takes label_smoothing.
        counts: whether it counts correct predictions, so that there is an accuracy.
        mixes: whether the loss takes the targets of mixed samples, probabilities of classes.
        headline: the metric that is shown by default.
        check: the module:function (name, y, num_classes) that refuses targets of a wrong form.
        target: the shape of a target from channels and side, if targets are not classes.
        output: the shape of a prediction from channels, classes and side, in the same case.
        options: the options that a job may set.
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
        """Return the shape of a sample's target; () is one class, and `ANY` is any length."""
        if self.target is not None:
            return self.target(channels, side)
        return self.dims * (side,) if self.dense else ()

    def output_shape(self, channels: int, classes: int, side: int) -> Shape:
        """Return the shape of the prediction for a sample; `ANY` is any length."""
        if self.output is not None:
            return self.output(channels, classes, side)
        return (classes, *self.target_shape(channels, side))


def fits(found: Shape, expected: Shape) -> bool:
    """Return whether *found* equals *expected*, in which `ANY` matches any length."""
    return len(found) == len(expected) and all(e in (f, ANY) for f, e in zip(found, expected))


def written(shape: Shape) -> str:
    """Return *shape* as readable text."""
    return str(shape).replace(str(ANY), "any")


def filled(shape: Shape) -> Shape:
    """Return *shape* with a usual length instead of `ANY`."""
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
