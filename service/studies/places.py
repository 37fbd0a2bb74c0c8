"""The questions of a study about each cell: whether it can run, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from normlab.errors import FieldProblem
from normlab.specs.jobs import JobSpec

PlaceOf = Callable[[JobSpec], tuple[str, str]]
"""Choose a device for a job, with the reason."""

Check = Callable[[JobSpec], Sequence[FieldProblem]]
"""Problems of a job that the schema cannot detect."""
