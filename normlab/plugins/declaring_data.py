"""The decorators for a user's own networks and datasets."""

from __future__ import annotations

from typing import Callable, Sequence

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import TargetT, declare
from normlab.specs.registries import DATASETS, NETWORKS


def network(
    name: str,
    *,
    task: str = "classification",
    min_image_size: int = 1,
    recurrent: bool = False,
    needs: Sequence[str] = (),
) -> Callable[[TargetT], TargetT]:
    """
    Declare a network, for `model: {name: NAME, options: {...}}` in jobs.

    The factory may take `norm`, `num_classes`, `in_channels` and `image_size`; its other annotated
    arguments are the options. `norm(channels, activation=None, dims=2)` makes the job's normalizer
    with the activation after it ("relu", "silu", "gelu" or None), for (N, C, positions...). If the
    factory does not take `norm`, the norm layers of its module are exchanged as by
    `normlab.convert`. The initial weights are those that the factory makes.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        task: the task that it is for: "classification", "segmentation", "language", "detection",
            "style", or one of your own.
        min_image_size: the smallest side of an image, in pixels, for which it can be built.
        recurrent: whether its normalizers are at gates, where not every kind can be used.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    _positive("min_image_size", min_image_size)
    facts = {"task": task, "min_image_size": min_image_size, "recurrent": recurrent}
    return declare(NETWORKS, name, facts, needs)


def dataset(
    name: str,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    task: str = "classification",
    standardize: bool = True,
    needs: Sequence[str] = (),
) -> Callable[[TargetT], TargetT]:
    """
    Declare a dataset, for `dataset: {name: NAME, options: {...}}` in jobs.

    The factory takes `split`, which is "train" or "test", and may take `data_root`, the operator's
    folder of datasets; its other annotated arguments are the options. It returns anything with
    `__len__` and `__getitem__`, or an iterable. Its items are pairs (x, y): x is a tensor or array
    of shape (*channels*, *image_size*, *image_size*) of bytes or floats, and y is the target of
    the task. All samples are read into memory before the first update.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        num_classes: the number of classes, which are 0 to *num_classes* - 1.
        channels: the number of channels of each sample.
        image_size: the side of an image in pixels, or the length of a sequence.
        task: "classification", "segmentation", "language", "detection", "style", or one of your
            own.
        standardize: whether to give each channel mean 0 and deviation 1 over the training set.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name or a size cannot be used.
    """
    facts = {"num_classes": num_classes, "channels": channels, "image_size": image_size}
    for field, value in facts.items():
        _positive(field, value)
    return declare(DATASETS, name, {**facts, "task": task, "standardize": standardize}, needs)


def _positive(field: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidSpec(f"{field}={value!r}: give an integer of at least 1")
