"""The decorators for a user's own optimizers, schedules and augmentations."""

from __future__ import annotations

from typing import Callable, Sequence

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import TargetT, declare
from normlab.specs.registries import AUGMENTATIONS, OPTIMIZERS, SCHEDULES


def optimizer(name: str, *, needs: Sequence[str] = ()) -> Callable[[TargetT], TargetT]:
    """
    Declare an optimizer, for `optimizer: {name: NAME, ...}` in jobs.

    The class, or a function that makes it, takes the parameter groups first, and `lr`. If it does
    not take `weight_decay`, a job cannot ask for weight decay. Its other annotated arguments are
    the options. It is a `torch.optim.Optimizer`: schedules set the `lr` of its groups, jobs save
    its `state_dict`, and clipping comes before its `step`. If `lr` has a default, it is also the
    job's default.

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

    The function returns the factor of the learning rate, at least 0. It takes one or more of
    `progress` (the finished share of the training after its warm-up, 0 to 1), `done` (finished
    updates), `steps` (all updates) and `steps_per_epoch`. Its other annotated arguments are the
    options. It must return the same for the same arguments, because a resumed job calls it again.
    Warm-up is an option of every schedule, and comes before it.

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

    A function `(x, u, *, options...)` takes a batch (N, C, H, W), and *draws* uniform numbers in
    [0, 1) for each sample, (N, *draws*); it returns the changed batch. A class is made from its
    options. It has `draw(n, generator)`, which returns a tensor with one row for each of n samples,
    and it is called with `(x, rows)`. An augmentation with the arguments `(x, y, u)` returns both x
    and y, with targets as probabilities (N, K), and may mix the samples of its batch. All others
    must change each sample by its own numbers alone.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        draws: the number of random numbers for each sample, if it is a function.
        pixels: whether x is in [0, 1], black to white; otherwise it is standardized.
        tasks: the tasks whose targets stay correct; for mixed targets, every task whose loss takes
            them.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise InvalidSpec(f"draws={draws!r}: give an integer of at least 1")
    facts = {"draws": draws, "pixels": pixels, "tasks": list(tasks)}
    return declare(AUGMENTATIONS, name, facts, needs)
