"""The decorators for optimizers, schedules and augmentations of one's own."""

from __future__ import annotations

from typing import Callable, Sequence

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import TargetT, declare
from normlab.specs.registries import AUGMENTATIONS, OPTIMIZERS, SCHEDULES


def optimizer(name: str, *, needs: Sequence[str] = ()) -> Callable[[TargetT], TargetT]:
    """
    Declare an optimizer, for `optimizer: {name: NAME, ...}` in jobs.

    The class, or the function that makes it, takes the groups of parameters first, and `lr`; it
    may take `weight_decay`, without which a job cannot ask for any. Its other annotated arguments
    are the options. It is a `torch.optim.Optimizer`: schedules set the `lr` of its groups, jobs
    save its `state_dict`, and clipping comes before its `step`. A default of `lr` is the job's.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(OPTIMIZERS, name, {}, needs)


def schedule(name: str, *, needs: Sequence[str] = ()) -> Callable[[TargetT], TargetT]:
    """
    Declare a schedule of the learning rate, for `schedule: {name: NAME, ...}` in jobs.

    The function returns the factor of the rate, at least 0. It takes one or more of `progress`
    (the finished share of the training after its warm-up, 0 to 1), `done` (updates), `steps` (all
    of them) and `steps_per_epoch`; its other annotated arguments are the options. It must give the
    same for the same arguments, since a resumed job asks again. Warm-up is an option of every
    schedule, and comes before it.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(SCHEDULES, name, {}, needs)


def augmentation(
    name: str,
    *,
    draws: int = 1,
    pixels: bool = False,
    tasks: Sequence[str] = ("classification",),
    needs: Sequence[str] = (),
) -> Callable[[TargetT], TargetT]:
    """
    Declare a random change of training samples, for `augmentations: [NAME, ...]` in jobs.

    A function `(x, u, *, options...)` gets a batch (N, C, H, W) and *draws* uniform numbers in
    [0, 1) for each sample, (N, *draws*), and returns the changed batch. A class is made from its
    options; it has `draw(n, generator)`, which returns a tensor with a row for each of n samples,
    and is called with `(x, rows)`. What is called with `(x, y, u)` returns both x and y, the
    targets as probabilities (N, K), and may mix the samples that it is given. All else must change
    each sample by its own numbers alone.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        draws: of a function, random numbers for each sample.
        pixels: x is in [0, 1], black to white; else it is standardized.
        tasks: whose targets stay right; where targets are mixed, every task whose loss takes them.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise InvalidSpec(f"draws={draws!r}: give an integer of at least 1")
    facts = {"draws": draws, "pixels": pixels, "tasks": list(tasks)}
    return declare(AUGMENTATIONS, name, facts, needs)
