"""The highest priority that an owner, or anybody in a project, may ask for."""

from __future__ import annotations

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem
from service.jobs.allowances import MOST

_HIGHEST = text(f"""
    select {MOST.format(subject="owner", what="priority", name=":owner")} as of_owner,
        {MOST.format(subject="project", what="priority", name=":project")} as of_project
""")


def problems(
    connection: Connection, owner: str, project: str, asked: int, field: str = "priority"
) -> list[FieldProblem]:
    """Say whether *owner* may not ask for the priority *asked* in *project*."""
    found = connection.execute(_HIGHEST, {"owner": owner, "project": project}).one()
    if found.of_owner is not None and asked > found.of_owner:
        return [_problem(field, asked, found.of_owner, f"{owner!r} may ask for")]
    if found.of_project is not None and asked > found.of_project:
        return [_problem(field, asked, found.of_project, f"project {project!r} allows")]
    return []


def _problem(field: str, asked: int, most: int, whose: str) -> FieldProblem:
    rule = f"{asked} is above {most}, the highest that {whose}"
    return FieldProblem(field, f"{rule}; ask for less, or an admin for more (normlab limits set)")
