"""The jobs and studies that a request names: in which projects they lie, and whose they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from fastapi import Request
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from normlab.errors import NotFound
from service.jobs import reading
from service.store.database import Database
from service.store.identity import parse_id
from service.studies import studies

Kind = Literal["job", "study"]
_KINDS: tuple[Kind, ...] = ("job", "study")
_REMEMBERED = 10_000
_FIND = {kind: text(f"select project, owner from {kind} where id = :id") for kind in _KINDS}
_FORMS: dict[str, Kind] = {"/jobs/new": "job", "/studies/new": "study"}
"""The forms that are filled in from a thing, which the query names as `from`."""


@dataclass(frozen=True)
class Thing:
    """A job or a study, for a message, with its project and owner."""

    kind: Kind
    id: str
    project: str
    owner: str

    @property
    def unknown(self) -> NotFound:
        """The error of whoever may not see it: the same as if it did not exist."""
        return unknown(self.kind, self.id)

    def __str__(self) -> str:
        """Name it."""
        return f"{self.kind} {self.id}"


class Things:
    """Finds things by their ids, and remembers them: their projects and owners never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[Kind, UUID], tuple[str, str]] = OrderedDict()

    async def named_by(self, request: Request) -> list[Thing]:
        """
        Return the things that the path of *request* names.

        Raises:
            NotFound: one of them does not exist.
        """
        return [await self.find(kind, given) for kind, given in _named(request)]

    async def find(self, kind: Kind, given: str) -> Thing:
        """Return the thing whose id is *given*; raise NotFound if there is none."""
        key = (kind, parse_id(given, kind))
        found = self._known.get(key)
        if found is None:
            found = await run_in_threadpool(self._look_up, key)
            if found is None:
                raise unknown(kind, given)
            self._known[key] = found
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return Thing(kind, given, *found)

    def _look_up(self, key: tuple[Kind, UUID]) -> tuple[str, str] | None:
        with self._database.autocommit() as connection:
            row: Any = connection.execute(_FIND[key[0]], {"id": key[1]}).first()
        return None if row is None else (row.project, row.owner)


def unknown(kind: Kind, given: str) -> NotFound:
    """Return the error for an unknown thing."""
    return reading.unknown(given) if kind == "job" else studies.unknown(given)


def _named(request: Request) -> Iterator[tuple[Kind, str]]:
    for kind in _KINDS:
        if kind in request.path_params:
            yield kind, request.path_params[kind]
    form = _FORMS.get(getattr(request.scope.get("route"), "path", ""))
    if form and request.query_params.get("from"):
        yield form, request.query_params["from"]
