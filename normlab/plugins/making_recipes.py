"""Make the spec of an optimizer, a schedule or an augmentation from its description."""

from __future__ import annotations

from typing import Any, Callable, Dict, Type, TypeVar

from pydantic import Field, create_model
from typing_extensions import Literal

from normlab.plugins.entries import EntryDescription, fields
from normlab.specs.augmentations import Augmentation
from normlab.specs.base import Spec
from normlab.specs.optimizers import Optimizer
from normlab.specs.registries import AUGMENTATIONS, OPTIMIZERS, SCHEDULES
from normlab.specs.schedules import Schedule

SpecT = TypeVar("SpecT", bound=Spec)


def optimizer(entry: EntryDescription) -> Type[Optimizer]:
    """Return the spec of a plugin's optimizer."""
    facts = dict(entry.facts)
    own: Dict[str, Any] = {}
    if "lr" in facts:
        of_all = Optimizer.model_fields["lr"]
        own["lr"] = (float, Field(facts.pop("lr"), gt=0, le=1000, description=of_all.description))
    return _made(entry, Optimizer, facts, own)


def schedule(entry: EntryDescription) -> Type[Schedule]:
    """Return the spec of a plugin's schedule."""
    return _made(entry, Schedule, entry.facts, {})


def augmentation(entry: EntryDescription) -> Type[Augmentation]:
    """Return the spec of a plugin's augmentation."""
    facts = {**entry.facts, "tasks": () if entry.facts["mixes"] else tuple(entry.facts["tasks"])}
    return _made(entry, Augmentation, facts, {})


def _made(
    entry: EntryDescription, base: Type[SpecT], facts: Dict[str, Any], own: Dict[str, Any]
) -> Type[SpecT]:
    name: Any = (Literal[entry.name], entry.name)
    title = f"{entry.name}_{entry.part}"  # parts of different kinds may share a name
    made = create_model(title, __base__=base, name=name, **own, **fields(entry.options))
    for fact, value in {**facts, "__doc__": entry.summary, "factory": entry.path}.items():
        setattr(made, fact, value)
    return made


MADE: Dict[str, Callable[[EntryDescription], Any]] = {
    OPTIMIZERS: optimizer,
    SCHEDULES: schedule,
    AUGMENTATIONS: augmentation,
}
