"""Laws of optimizers, schedules and augmentations."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Mapping, Tuple

import torch
from torch import Tensor, nn

from normlab.data.augmenting import made_augmentation
from normlab.errors import InvalidSpec
from normlab.laws.small_trainings import Broken
from normlab.specs.augmentations import AUGMENTATIONS, Augmentation
from normlab.specs.optimizers import OPTIMIZERS, Optimizer
from normlab.specs.registries import (
    AUGMENTATIONS as AUGMENTATION,
    OPTIMIZERS as OPTIMIZER,
    SCHEDULES as SCHEDULE,
    named_object,
)
from normlab.specs.schedules import SCHEDULES, Schedule
from normlab.training.schedules import factor

_UPDATES, _EPOCH = 60, 12
_SAMPLES, _CLASSES, _SIDE = 6, 4, 12


def goes_downhill(spec: Optimizer) -> None:
    """Raise Broken unless updates reduce the loss |w|, the norm of the weights."""
    start, end = _trained(spec, 0), _trained(spec, _UPDATES)
    if not float(end.norm()) < float(start.norm()):
        raise Broken(
            f"{_UPDATES} updates at lr={spec.lr:g} take the loss |w| from {float(start.norm()):.3g}"
            f" to {float(end.norm()):.3g}"
        )


def leaves_others_alone(spec: Optimizer) -> None:
    """Raise Broken if it changes a parameter without a gradient, or fails because of it."""
    idle = nn.Parameter(torch.ones(3))
    _trained(spec, 3, [idle])
    if not bool((idle == 1).all()):
        raise Broken("a parameter without a gradient was changed")


def repeats_updates(spec: Optimizer) -> None:
    """Raise Broken unless the same gradients lead to the same weights."""
    if not torch.equal(_trained(spec, 5), _trained(spec, 5)):
        raise Broken("two runs from the same weights differ")


def continues_from_its_state(spec: Optimizer) -> None:
    """Raise Broken unless a copy that loads its state continues in the same way."""
    if not torch.equal(_trained(spec, 6), _trained(spec, 6, reload_at=3)):
        raise Broken("after load_state_dict(state_dict()) the updates differ")


def _trained(spec: Optimizer, updates: int, others: Any = (), reload_at: int = -1) -> Tensor:
    weights = nn.Parameter(torch.linspace(-1, 2, 12).view(3, 4))
    groups = [{"params": [weights, *others], "weight_decay": 0.0, "lr_factor": 1.0}]
    optimizer = _made(spec, groups)
    for i in range(updates):
        if i == reload_at:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = _made(spec, groups)
            optimizer.load_state_dict(state)
        weights.grad = (weights / weights.norm()).detach()
        optimizer.step()
    return weights.detach()


def _made(spec: Optimizer, groups: List[Dict[str, Any]]) -> Any:
    fresh = [dict(group) for group in groups]  # an optimizer keeps and changes its groups
    return named_object(spec.factory)(fresh, lr=spec.lr, **spec.own)


def is_a_factor(spec: Schedule) -> None:
    """Raise Broken unless every update has a finite factor of at least 0."""
    _factors(spec)


def repeats_factors(spec: Schedule) -> None:
    """Raise Broken unless an update has the same factor each time it is computed."""
    if _factors(spec) != _factors(spec):
        raise Broken("the same update has another factor the second time")


def _factors(spec: Schedule) -> List[float]:
    try:
        return [factor(spec, step, _UPDATES, _EPOCH) for step in range(1, _UPDATES + 1)]
    except InvalidSpec as e:
        raise Broken(str(e)) from e


def keeps_shape(spec: Augmentation) -> None:
    """Raise Broken unless samples keep their number and type, and the input is not changed."""
    x, y, drawn = _batch(spec)
    before = x.clone()
    found, _ = _changed(spec, x, y, drawn)
    if len(found) != len(x) or found.dtype != x.dtype or found.dim() != x.dim():
        raise Broken(f"{tuple(x.shape)} of {x.dtype} became {tuple(found.shape)} of {found.dtype}")
    if not torch.equal(x, before):
        raise Broken("its input was changed in place")
    if not bool(torch.isfinite(found).all()):
        raise Broken("its output is not finite")


def repeats_changes(spec: Augmentation) -> None:
    """Raise Broken unless the same numbers change samples in the same way."""
    again = [
        torch.cat([part.flatten().float() for part in _changed(spec, *_batch(spec))])
        for _ in range(2)
    ]
    if not torch.equal(*again):
        raise Broken("the same samples with the same numbers gave different results")


def changes_each_alone(spec: Augmentation) -> None:
    """Raise Broken unless a sample's result depends only on its own numbers."""
    if spec.mixes:
        return
    x, y, drawn = _batch(spec)
    whole, _ = _changed(spec, x, y, drawn)
    for i in range(len(x)):
        one = slice(i, i + 1)
        alone, _ = _changed(spec, x[one], y[one], drawn[one])
        if not torch.allclose(alone, whole[one], atol=1e-5):
            raise Broken(f"sample {i} gives a different result without the others of its batch")


def keeps_targets(spec: Augmentation) -> None:
    """Raise Broken unless mixed targets are probabilities."""
    _, y = _changed(spec, *_batch(spec))
    sums = y.sum(1)
    if float(y.min()) < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-5):
        raise Broken(f"targets are not probabilities: rows sum to {sums.tolist()}")


def _batch(spec: Augmentation) -> Tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(_SAMPLES, 3, _SIDE, _SIDE, generator=g)
    y = torch.eye(_CLASSES)[torch.arange(_SAMPLES) % _CLASSES]
    return x, y, made_augmentation(spec).draw(_SAMPLES, g)


def _changed(spec: Augmentation, x: Tensor, y: Tensor, drawn: Tensor) -> Tuple[Tensor, Tensor]:
    change = made_augmentation(spec)
    found = change(x, y, drawn) if spec.mixes else (change(x, drawn), y)
    return found[0], found[1]


Law = Callable[[Any], None]
RECIPE_LAWS: Mapping[str, Mapping[str, Law]] = {
    OPTIMIZER: {
        "downhill": goes_downhill,
        "without gradient": leaves_others_alone,
        "determinism": repeats_updates,
        "state dict": continues_from_its_state,
    },
    SCHEDULE: {"a factor": is_a_factor, "determinism": repeats_factors},
    AUGMENTATION: {
        "shape and dtype": keeps_shape,
        "determinism": repeats_changes,
        "each sample alone": changes_each_alone,
        "targets": keeps_targets,
    },
}
_REGISTRIES: Mapping[str, Mapping[str, Any]] = {
    OPTIMIZER: OPTIMIZERS,
    SCHEDULE: SCHEDULES,
    AUGMENTATION: AUGMENTATIONS,
}


def hold(part: str, name: str, law: str) -> None:
    """
    Raise unless the *part* called *name*, with its default options, obeys *law*.

    Raises:
        Broken: the law is broken.
        Exception: the author's code raised it.
    """
    RECIPE_LAWS[part][law](_REGISTRIES[part][name]())
