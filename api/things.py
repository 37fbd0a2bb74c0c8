"""The jobs and studies that a request names: their projects and owners."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal
from uuid import UUID

from fastapi import Request
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from normlab.errors import NotFound
from service.jobs import reading
from service.store.database import Database
from service.store.identity import parse_id
from service.studies import details

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
        """The error for callers that may not see it, the same as if it did not exist."""
        return unknown(self.kind, self.id)

    def __str__(self) -> str:
        """Name it."""
        return f"{self.kind} {self.id}"


class Things:
    """Finds things by their ids, and remembers them: their projects and owners never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[Kind, UUID], tuple[str, str]] = OrderedDict()
        self._lock = Lock()

    async def named_by(self, request: Request) -> list[Thing]:
        """
        Return the things that the path of *request* names.

        Raises:
            NotFound: one of them does not exist.
        """
        return [await self.find(kind, given) for kind, given in _named(request)]

    async def find(self, kind: Kind, given: str) -> Thing:
        """Return the thing whose id is *given*; raise NotFound if there is none."""
        found = self._known.get((kind, parse_id(given, kind)))
        if found is None:
            return await run_in_threadpool(self.look_up, kind, given)
        return Thing(kind, given, *found)

    def look_up(self, kind: Kind, given: str) -> Thing:
        """Do the same, waiting for the database in this thread."""
        key = parse_id(given, kind)
        with self._database.autocommit() as connection:
            row: Any = connection.execute(_FIND[kind], {"id": key}).first()
        if row is None:
            raise unknown(kind, given)
        self._remember((kind, key), (row.project, row.owner))
        return Thing(kind, given, row.project, row.owner)

    def _remember(self, key: tuple[Kind, UUID], found: tuple[str, str]) -> None:
        with self._lock:
            self._known[key] = found
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def unknown(kind: Kind, given: str) -> NotFound:
    """Return the error for an unknown thing."""
    return reading.unknown(given) if kind == "job" else details.unknown(given)


def _named(request: Request) -> Iterator[tuple[Kind, str]]:
    for kind in _KINDS:
        if kind in request.path_params:
            yield kind, request.path_params[kind]
    form = _FORMS.get(getattr(request.scope.get("route"), "path", ""))
    if form and request.query_params.get("from"):
        yield form, request.query_params["from"]
