"""The keep-rules of projects, set by their admins; without any, everything is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records.keeping import KeepRequest, KeepRules
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.store.sight import unknown_project

_FIELDS = tuple(KeepRequest.model_fields)
_LOCK = text("select 1 from project where name = :project for no key update")
_KNOWN = text("select 1 from project where name = :project")
_READ = text(f"select project, {', '.join(_FIELDS)} from keep_rule where project = :project")
_SEVERAL = text(f"""
    select project, {", ".join(_FIELDS)} from keep_rule where project = any(:projects)
""")
_PUT = text(f"""
    insert into keep_rule (project, {", ".join(_FIELDS)})
    values (:project, {", ".join(f":{name}" for name in _FIELDS)})
    on conflict (project) do update set
        {", ".join(f"{name} = excluded.{name}" for name in _FIELDS)}
""")
_RULED = text("""
    select project from keep_rule
    where coalesce(checkpoints_days, weights_days, logs_days) is not null order by project
""")


def put(database: Database, project: str, asked: KeepRequest, by: Actor) -> KeepRules:
    """
    Change what *project* keeps; rules that are not given stay as they are.

    Raises:
        InvalidSpec: nothing is given, or a value is null that may not be null.
        NotFound: there is no such project.
    """
    given = {name: getattr(asked, name) for name in sorted(asked.model_fields_set)}
    if not given:
        raise InvalidSpec.of([FieldProblem("rules", f"give at least one of {', '.join(_FIELDS)}")])
    with database.begin() as connection:
        if connection.execute(_LOCK, {"project": project}).first() is None:
            raise unknown_project(project)
        rules = rules_of(connection, project).model_copy(update=given)
        connection.execute(_PUT, rules.model_dump())
        audit.write(connection, by, "project.keep", project, **given)
    return rules


def read(database: Database, project: str) -> KeepRules:
    """Return the rules of *project*; raise NotFound if there is no such project."""
    with database.autocommit() as connection:
        if connection.execute(_KNOWN, {"project": project}).first() is None:
            raise unknown_project(project)
        return rules_of(connection, project)


def rules_of(connection: Connection, project: str) -> KeepRules:
    """Return the rules of *project*, or those that keep everything."""
    row: Any = connection.execute(_READ, {"project": project}).mappings().first()
    return _everything(project) if row is None else KeepRules(**row)


def read_several(database: Database, projects: Sequence[str]) -> dict[str, KeepRules]:
    """Return the rules of each of *projects*."""
    with database.autocommit() as connection:
        rows = connection.execute(_SEVERAL, {"projects": list(projects)}).mappings()
        found = {row["project"]: KeepRules(**row) for row in rows}
    return {name: found.get(name) or _everything(name) for name in projects}


def with_rules(connection: Connection) -> list[str]:
    """List the projects that do not keep everything."""
    return list(connection.execute(_RULED).scalars())


def _everything(project: str) -> KeepRules:
    return KeepRules(project=project, **KeepRequest().model_dump())
