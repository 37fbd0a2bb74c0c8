"""The project that a request adds something to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from starlette.concurrency import run_in_threadpool

from api.auth import ReaderDep, SubmitterDep, ThingsDep
from api.caller import Caller
from api.state import StateDep
from normlab.errors import FieldProblem, Forbidden, InvalidSpec
from normlab.records.projects import DEFAULT
from service.store import projects
from service.store.sight import check_in_sight

Named = Annotated[
    str | None,
    Query(
        max_length=64,
        description="the project that the job or study belongs to; default: the project of the "
        "job that the path names, or else `default`, or else the only project that you may "
        "submit to",
    ),
]


async def _target(
    caller: SubmitterDep, state: StateDep, things: ThingsDep, project: Named = None
) -> str:
    if project is not None:
        check_in_sight(project)
        if "admin" in caller.scopes:  # admins may name a project that does not exist
            await run_in_threadpool(projects.check_exists, state.database, project)
        if not caller.may("submit", project):
            raise Forbidden(
                f"{caller.owner!r} may only read in project {project!r}; submit to another one, or "
                "ask somebody who administers it for the role 'submit'"
            )
        return project
    wanted = [*(thing.project for thing in things), DEFAULT]
    fitting = [name for name in wanted if caller.may("submit", name)]
    return fitting[0] if fitting else _only_one(caller)


def _only_one(caller: Caller) -> str:
    names = sorted(name for name in caller.roles if caller.may("submit", name))
    if len(names) == 1:
        return names[0]
    way_out = f"name one of {', '.join(names)}" if names else "ask for the role 'submit' in one"
    rule = f"{caller.owner!r} may submit to {len(names) or 'no'} projects; {way_out}"
    raise InvalidSpec.of([FieldProblem("project", rule)])


async def _looked_at(caller: ReaderDep, project: Named = None) -> str:
    if project is not None:
        check_in_sight(project)
        return project
    return DEFAULT if caller.may("read", DEFAULT) else next(iter(sorted(caller.roles)), DEFAULT)


TargetDep = Annotated[str, Depends(_target)]
"""The projects that the caller may submit to."""
LookedAtDep = Annotated[str, Depends(_looked_at)]
"""The project that something would be added to, for requests that add nothing."""
