"""What every part of a job's specification has in common: frozen, and nothing unknown in it."""

from __future__ import annotations

from pydantic import AfterValidator, BaseModel, ConfigDict
from typing_extensions import Annotated


def _printable(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ValueError(
            "control characters and broken Unicode cannot be stored or shown; use plain text"
        )
    return text


Label = Annotated[str, AfterValidator(_printable)]
"""Text for people, on one line."""


class Spec(BaseModel):
    """A frozen record that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
