"""Describe the optimizers, schedules and augmentations that a plugin declares."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Collection, Dict, List, Type

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import Declared
from normlab.plugins.entries import EntryDescription, described_options
from normlab.specs.augmentations import Augmentation
from normlab.specs.base import Spec
from normlab.specs.optimizers import Optimizer
from normlab.specs.registries import AUGMENTATIONS, OPTIMIZERS, SCHEDULES
from normlab.specs.schedules import Schedule

PROGRESS = ("progress", "done", "steps", "steps_per_epoch")
_LEARNED = ("lr", "weight_decay")
_CALLS = (["x", "u"], ["x", "y", "u"])


def described_optimizer(declared: Declared, path: str) -> EntryDescription:
    """Describe an optimizer: its options, its default rate, and whether it has weight decay."""
    takes = _takes(declared)
    names = list(takes)
    if len(names) < 2 or "lr" not in names[1:]:
        raise InvalidSpec(
            f"{_signature(declared)}: an optimizer takes the groups of parameters first, and lr"
        )
    facts: Dict[str, Any] = {"decays": "weight_decay" in takes}
    if isinstance(takes["lr"].default, (int, float)):
        facts["lr"] = takes["lr"].default
    return _described(declared, path, {names[0], *_LEARNED}, Optimizer, facts)


def described_schedule(declared: Declared, path: str) -> EntryDescription:
    """Describe a schedule, a function of the progress and its options."""
    given = [name for name in _takes(declared) if name in PROGRESS]
    if inspect.isclass(declared.target) or not given:
        raise InvalidSpec(
            f"{_signature(declared)}: a schedule is a function of one or more of "
            f"{', '.join(PROGRESS)}, and of its options"
        )
    return _described(declared, path, given, Schedule, {})


def described_augmentation(declared: Declared, path: str) -> EntryDescription:
    """Describe an augmentation: a function of samples and numbers, or a class that draws."""
    target = declared.target
    if inspect.isclass(target):
        if not hasattr(target, "draw") or "__call__" not in vars(target):
            raise InvalidSpec(
                f"the augmentation {declared.name!r} must have draw(n, generator) and "
                "__call__(x, drawn), or __call__(x, y, drawn)"
            )
        takes = list(inspect.signature(vars(target)["__call__"]).parameters)[1:]
        facts = {**declared.facts, "draws": 0, "mixes": len(takes) == 3}
        return _described(declared, path, (), Augmentation, facts)
    names = list(_takes(declared))
    mixes = names[:3] == _CALLS[1]
    if not mixes and names[:2] != _CALLS[0]:
        raise InvalidSpec(
            f"{_signature(declared)}: an augmentation is a function of (x, u, *, options...) or "
            "(x, y, u, *, options...), or a class"
        )
    given = _CALLS[mixes]
    return _described(declared, path, given, Augmentation, {**declared.facts, "mixes": mixes})


def _takes(declared: Declared) -> Dict[str, inspect.Parameter]:
    if not callable(declared.target):
        raise InvalidSpec(f"the {declared.part} {declared.name!r} is not callable")
    return dict(inspect.signature(declared.target).parameters)


def _signature(declared: Declared) -> str:
    names: List[str] = list(_takes(declared))
    return f"{declared.target.__name__}({', '.join(names)})"


def _described(
    declared: Declared, path: str, given: Collection[str], base: Type[Spec], facts: Dict[str, Any]
) -> EntryDescription:
    options = described_options(declared.target, given)
    for option in options:
        if option == "name" or option in base.model_fields:
            raise InvalidSpec(
                f"{_signature(declared)}: every {declared.part} has {option!r} in a job already; "
                "choose another name for the option"
            )
    return EntryDescription(
        part=declared.part,
        name=declared.name,
        path=path,
        summary=declared.summary,
        facts=facts,
        options=options,
    )


DESCRIBED: Dict[str, Callable[[Declared, str], EntryDescription]] = {
    OPTIMIZERS: described_optimizer,
    SCHEDULES: described_schedule,
    AUGMENTATIONS: described_augmentation,
}
