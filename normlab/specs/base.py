"""The base of all parts of a job's specification: frozen, without unknown fields."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Type, TypeVar, Union

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError
from typing_extensions import Annotated

from normlab.plain_text import shown, unseen_in

_STORED = "stored"
_SpecT = TypeVar("_SpecT", bound="Spec")


def is_stored(info: ValidationInfo) -> bool:
    """Return whether the value was accepted before, and is only read for display."""
    return bool(info.context and info.context.get(_STORED))


def text_problem(text: str) -> Optional[str]:
    """Return the first invisible character of *text*; None if there is none."""
    unseen = unseen_in(text)
    if unseen is None:
        return None
    return (
        f"{unseen} in it cannot be seen: control characters, broken Unicode and marks that turn "
        "or hide text cannot be stored or shown; use plain text"
    )


def _plain(text: str, info: ValidationInfo) -> str:
    problem = text_problem(text)
    if problem is None:
        return text
    if is_stored(info):
        return shown(text)
    raise ValueError(problem)


Label = Annotated[str, AfterValidator(_plain)]
"""Text for people, on one line."""


class Spec(BaseModel):
    """A frozen record that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_store(cls: Type[_SpecT], raw: Any) -> _SpecT:
        """Read a record that an earlier version accepted; escape text that this one refuses."""
        return cls.model_validate(raw, context={_STORED: True})


NAMED = PydanticCustomError("named_type", "must be a name, or an object with its options")
"""Neither a name nor an object is given where both are accepted."""


def or_its_name(spec: Type[Spec]) -> BeforeValidator:
    """Accept a bare name as short for a *spec* with this `name` and without options."""
    return BeforeValidator(_spelled_out, json_schema_input_type=Union[str, spec])


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, (Mapping, Spec)):
        raise NAMED
    return value
