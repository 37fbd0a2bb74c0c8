"""The highest priority that an owner, or anybody in a project, may ask for: of jobs and studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, refuse
from normlab.specs.cells import Cell
from normlab.specs.studies import StudySpec
from service.jobs.allowances import limit_of

_FIELD = "priority"  # of a job and a study; axes and spaces may vary it
_HIGHEST = text(f"""
    select {limit_of("owner", "priority", ":owner")} as of_owner,
        {limit_of("project", "priority", ":project")} as of_project
""")


def problems(connection: Connection, owner: str, project: str, asked: int) -> list[FieldProblem]:
    """Return the problem if *owner* may not ask for the priority *asked* in *project*."""
    found = connection.execute(_HIGHEST, {"owner": owner, "project": project}).one()
    if found.of_owner is not None and asked > found.of_owner:
        return [_problem(asked, found.of_owner, f"{owner!r} may ask for")]
    if found.of_project is not None and asked > found.of_project:
        return [_problem(asked, found.of_project, f"project {project!r} allows")]
    return []


def refuse_priority(
    connection: Connection, owner: str, project: str, spec: StudySpec, cells: Sequence[Cell]
) -> None:
    """Raise InvalidSpec if *owner* may not ask for the priority of one of the *cells* of *spec*."""
    asked = max((spec.priority, *(cell.spec.priority for cell in cells), *_in_space(spec)))
    refuse(problems(connection, owner, project, asked))


def _problem(asked: int, most: int, whose: str) -> FieldProblem:
    rule = f"{asked} is above {most}, the highest that {whose}"
    return FieldProblem(_FIELD, f"{rule}; ask for less, or an admin for more (normlab limits set)")


def _in_space(spec: StudySpec) -> Iterator[int]:
    parameter = spec.search.space.get(_FIELD) if spec.search else None
    for value in (parameter.choices or [parameter.high]) if parameter is not None else ():
        if isinstance(value, (int, float)):  # other values are refused by the field itself
            yield int(value)
