"""Parts of a job that are named with their options: `top_k`, or `{name: top_k, k: 3}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Tuple, Type, Union

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)
from typing_extensions import Annotated

from normlab.specs.base import Label, Spec, is_stored, or_its_name
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.options import checked_options
from normlab.specs.registries import Registry


class NamedPart(Spec):
    """A name and its options, each in its own field; as JSON only the name if it has no options."""

    model_config = ConfigDict(extra="allow")

    name: Label = Field(max_length=128)

    @property
    def options(self) -> Dict[str, Any]:
        """The options, with their defaults."""
        return dict(self.model_extra or {})

    @model_serializer(mode="wrap")
    def _in_short(self, handler: SerializerFunctionWrapHandler) -> Union[str, Dict[str, Any]]:
        whole: Dict[str, Any] = handler(self)
        return whole if len(whole) > 1 else self.name


class TaskOptions(Spec):
    """The options of a dataset's task, each a field of its own."""

    model_config = ConfigDict(extra="allow")

    @property
    def values(self) -> Dict[str, Any]:
        """The options as they were given; `job_rules` checks them."""
        return dict(self.model_extra or {})


def each_once(parts: Tuple[NamedPart, ...]) -> Tuple[NamedPart, ...]:
    """
    Return *parts* without repetitions.

    Raises:
        ValueError: one name comes with two sets of options.
    """
    found: Dict[str, NamedPart] = {}
    for part in parts:
        if found.setdefault(part.name, part) != part:
            raise ValueError(
                f"{part.name!r} is listed twice with different options, and both would report "
                "under one name; declare it under a second name"
            )
    return tuple(found.values())


def _options_by(part: str, registry: Registry[Any]) -> Callable[[NamedPart, ValidationInfo], Any]:
    def checked(value: NamedPart, info: ValidationInfo) -> NamedPart:
        facts = registry.get(value.name)
        if facts is None or is_stored(info):
            return value
        options: Type[Spec] = facts.options
        found: Mapping[str, Any] = checked_options(
            options, f"the {part} {value.name!r}", value.options
        )
        return NamedPart.model_validate({"name": value.name, **found})

    return checked


def _parts(part: str, registry: Registry[Any]) -> Any:
    options = AfterValidator(_options_by(part, registry))
    one = Annotated[NamedPart, options, or_its_name(NamedPart)]
    return Annotated[Tuple[one, ...], AfterValidator(each_once)]


if TYPE_CHECKING:
    MetricParts = Tuple[NamedPart, ...]
    HookParts = Tuple[NamedPart, ...]
else:
    MetricParts = _parts("metric", METRICS)
    HookParts = _parts("hook", HOOKS)
