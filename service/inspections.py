"""What the inspection process can answer about a model before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from normlab.errors import FieldProblem


@dataclass(frozen=True)
class Inspection:
    """The properties of a job's model that are known before training."""

    parameters: int
    memory_bytes: int
    ipu_passes: bool
    ipu_message: str
    conversion: str = ""
    """What was done with the norm layers of a network of another library."""
    lasts: ClassVar[bool] = True


@dataclass(frozen=True)
class Unfit:
    """Why a network of another library cannot be trained."""

    problems: tuple[FieldProblem, ...]
    lacks: str | None = None
    """The package that is not installed where networks are inspected."""

    @property
    def lasts(self) -> bool:
        """Whether the answer stays valid: a package may be installed at any time."""
        return self.lacks is None


@dataclass(frozen=True)
class Drawing:
    """What is drawn on a page, as plain values: `reason` says why there is nothing to draw."""

    found: Mapping[str, Any]
    lasts: ClassVar[bool] = True
