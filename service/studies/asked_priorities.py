"""The highest priority that a study asks for, which its owner must be allowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from normlab.errors import FieldProblem, refuse
from normlab.specs.cells import Cell
from normlab.specs.studies import StudySpec
from service.jobs import priorities

_PATH = "priority"  # of a job; axes and spaces may vary it


def refuse_priority(
    connection: Connection, owner: str, project: str, spec: StudySpec, cells: Sequence[Cell]
) -> None:
    """Raise InvalidSpec if *owner* may not ask for the priority of one of the *cells* of *spec*."""
    refuse(priority_problems(connection, owner, project, spec, cells))


def priority_problems(
    connection: Connection, owner: str, project: str, spec: StudySpec, cells: Sequence[Cell]
) -> list[FieldProblem]:
    """Say whether *owner* may not ask for the priority of one of the *cells* of *spec*."""
    asked = max((spec.priority, *(cell.spec.priority for cell in cells), *_in_space(spec)))
    return priorities.problems(connection, owner, project, asked)


def _in_space(spec: StudySpec) -> Iterator[int]:
    parameter = spec.search.space.get(_PATH) if spec.search else None
    for value in (parameter.choices or [parameter.high]) if parameter is not None else ():
        if isinstance(value, (int, float)):  # others are refused as values of the field
            yield int(value)
