"""What every part of a job's specification has in common: frozen, and nothing unknown in it."""

from __future__ import annotations

from typing import Any, Iterator, List, Type, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo
from typing_extensions import Annotated

from normlab.plain_text import shown, unseen_in

_STORED = "stored"
_SpecT = TypeVar("_SpecT", bound="Spec")


def _plain(text: str, info: ValidationInfo) -> str:
    unseen = unseen_in(text)
    if unseen is None:
        return text
    if info.context and info.context.get(_STORED):
        return shown(text)
    raise ValueError(
        f"{unseen} in it cannot be seen: control characters, broken Unicode and marks that turn "
        "or hide text cannot be stored or shown; use plain text"
    )


def _plain_inside(value: Any, info: ValidationInfo) -> Any:
    for text in _texts(value):
        if not (info.context and info.context.get(_STORED)):
            _plain(text, info)
    return value


def _texts(value: Any) -> Iterator[str]:
    waiting: List[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, (list, tuple)):
            waiting += one


Label = Annotated[str, AfterValidator(_plain)]
"""Text for people, on one line."""

Value = Annotated[Any, AfterValidator(_plain_inside)]
"""What a study puts into a field: any JSON, with plain text in it."""


class Spec(BaseModel):
    """A frozen record that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_store(cls: Type[_SpecT], raw: Any) -> _SpecT:
        """Read what an earlier version accepted; text that this one refuses is escaped."""
        return cls.model_validate(raw, context={_STORED: True})
