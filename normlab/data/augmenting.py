"""The augmentations of an epoch: draw random numbers for each sample, and apply the changes."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from normlab.data.levels import Levels, levels_of
from normlab.data.training_data import TrainingData
from normlab.errors import InvalidSpec
from normlab.specs.augmentations import Augmentation
from normlab.specs.jobs import JobSpec
from normlab.specs.registries import named_object

Place = Callable[[Tensor], Tensor]
Part = Any  # some samples of an epoch: a slice, or a tensor of indices


@dataclass(frozen=True)
class Augmenting:
    """
    The augmentations of a job.

    An author's object has a method `draw(n, generator)`, which returns a tensor with one row for
    each of the *n* samples of an epoch. The object is called with samples and their rows: with
    `(x, drawn)`, or with `(x, y, drawn)` if it also changes targets, which then are rows of
    probabilities.

    Args:
        first: the augmentations that draw from the generator of the epoch's order.
        others: the augmentations that each have their own generator.
        micro_batch: the number of samples that may be mixed with each other.
        levels: the dataset's levels, if an augmentation takes images in [0, 1].
    """

    first: Sequence[Augmentation] = ()
    others: Sequence[Augmentation] = ()
    micro_batch: int = 1
    levels: Optional[Levels] = field(default=None, compare=False)


@dataclass(frozen=True)
class _Step:
    spec: Augmentation
    change: Callable[..., Any]
    drawn: Tensor


class EpochAugmentation:
    """
    The changes of one epoch's samples, a function of the seed, the epoch and the sample's index.

    So the order of the updates does not matter, nor which process makes them.

    Args:
        augmenting: the job's augmentations.
        samples, classes: their numbers in the training set.
        seed: the job's seed.
        epoch: the epoch's number, from 0.
        generator: the generator of the epoch's order, after the order was drawn.
        place: moves tensors to the device of the samples.
    """

    def __init__(
        self,
        augmenting: Augmenting,
        samples: int,
        classes: int,
        seed: int,
        epoch: int,
        generator: Generator,
        place: Place,
    ) -> None:
        self._classes = classes
        self._micro_batch = augmenting.micro_batch
        self._levels = augmenting.levels
        self._steps: List[_Step] = [
            _step(spec, samples, generator, place) for spec in augmenting.first
        ]
        for i, spec in enumerate(augmenting.others):
            own = Generator().manual_seed(mixed_seed(seed, epoch, i, spec.name))
            self._steps.append(_step(spec, samples, own, place))
        self._softens = any(step.spec.mixes for step in self._steps)

    def __call__(self, x: Tensor, y: Tensor, part: Part, host: Part) -> Tuple[Tensor, Tensor]:
        """
        Change the samples at *part* of the epoch.

        Args:
            x: standardized samples, (N, C, H, W).
            host: the same as *part*, with indices on the host.
        """
        if self._softens and not y.is_floating_point():
            y = F.one_hot(y, self._classes).float()
        as_image = False
        for step in self._steps:
            if step.spec.pixels != as_image and self._levels is not None:
                x = self._levels.standardized(x) if as_image else self._levels.image(x)
                as_image = step.spec.pixels
            drawn = step.drawn[part if step.drawn.device == x.device else host]
            x, y = self._changed(step, x, y, drawn)
        if as_image and self._levels is not None:
            x = self._levels.standardized(x)
        return x, y

    def _changed(self, step: _Step, x: Tensor, y: Tensor, drawn: Tensor) -> Tuple[Tensor, Tensor]:
        if not step.spec.mixes:
            return _whole(step.spec, step.change(x, drawn), x), y
        size = self._micro_batch
        pieces = zip(*(torch.split(part, size) for part in (x, y, drawn)))
        mixed = [step.change(*piece) for piece in pieces]
        xs, ys = zip(*mixed)
        return torch.cat(xs), torch.cat(ys)


def _step(spec: Augmentation, n: int, generator: Generator, place: Place) -> _Step:
    made = made_augmentation(spec)
    drawn = made.draw(n, generator)
    if not isinstance(drawn, Tensor) or drawn.dim() == 0 or len(drawn) != n:
        raise InvalidSpec(
            f"draw of augmentation {spec.name!r} must return a tensor with one row for each of "
            f"{n} samples"
        )
    return _Step(spec, made, drawn if getattr(made, "on_host", False) else place(drawn))


class _Function:
    """An augmentation given as a plain function of samples, uniform numbers and options."""

    def __init__(self, function: Callable[..., Any], draws: int) -> None:
        self._function = function
        self._draws = draws

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return uniform numbers, (n, draws)."""
        return torch.rand(n, self._draws, generator=generator)

    def __call__(self, *given: Tensor) -> Any:
        """Call the function."""
        return self._function(*given)


def made_augmentation(spec: Augmentation) -> Any:
    """Make the object that *spec* describes."""
    target = named_object(spec.factory)
    if spec.draws and not inspect.isclass(target):
        return _Function(partial(target, **spec.own), spec.draws)
    return target(**spec.own)


def _whole(spec: Augmentation, found: Any, x: Tensor) -> Tensor:
    if isinstance(found, Tensor) and len(found) == len(x) and found.dtype == x.dtype:
        return found
    said = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else repr(found)
    raise InvalidSpec(
        f"augmentation {spec.name!r} returned {said} for samples {tuple(x.shape)} of {x.dtype}; it "
        "must return as many, of the same type"
    )


def mixed_seed(*parts: object) -> int:
    """Mix *parts* into a seed for a generator."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits on every version


def augmenting_of(spec: JobSpec, data: TrainingData) -> Augmenting:
    """Return the augmentations of *spec*, on the device where the samples of *data* are."""
    sees_images = any(one.pixels for one in spec.augmentations)
    return Augmenting(
        first=spec.augmentation.members(),
        others=spec.augmentations,
        micro_batch=spec.batch_size,
        levels=levels_of(data) if sees_images else None,
    )
