"""
The projects that a request may see: those of its caller. It treats others as not existing.

Every HTTP request starts with an empty sight, and gets the sight of its caller once the caller is
known. Code within the request uses this sight implicitly, like its time limit. Workers and
background loops, which serve all projects, see everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, literal, true

from normlab.errors import NotFound

IN_SIGHT = "(cast(:seen as text[]) is null or {project} = any(cast(:seen as text[])))"
"""In SQL: whether a column with the name of a project is in sight; with `Sight.values`."""


@dataclass(frozen=True)
class Sight:
    """The names of the projects in sight; None: all of them."""

    projects: frozenset[str] | None = None

    def sees(self, project: str) -> bool:
        """Return whether *project* is in sight."""
        return self.projects is None or project in self.projects

    @property
    def values(self) -> dict[str, Any]:
        """Return the parameters of IN_SIGHT."""
        return {"seen": None if self.projects is None else sorted(self.projects)}

    def condition(self, project: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition that the column *project* is in sight."""
        if self.projects is None:
            return true()
        names = sorted(self.projects)
        if len(names) == 1:  # then an index by project gives the order of a list too
            return project == literal(names[0])
        return project.in_(names)


EVERYTHING = Sight()
NOTHING = Sight(frozenset())
_current: ContextVar[Sight] = ContextVar("sight", default=EVERYTHING)


def current() -> Sight:
    """Return the sight that applies here."""
    return _current.get()


def look_with(sight: Sight) -> None:
    """Apply *sight* to all that follows in this task, and to the threads that it starts."""
    _current.set(sight)


@contextmanager
def seeing(sight: Sight) -> Iterator[None]:
    """Apply *sight* while the context is open."""
    before = _current.set(sight)
    try:
        yield
    finally:
        _current.reset(before)


def check_in_sight(project: str) -> None:
    """Raise NotFound, as for a project that does not exist, unless *project* is in sight."""
    if not current().sees(project):
        raise unknown_project(project)


def unknown_project(project: str) -> NotFound:
    """Return the error for an unknown project."""
    return NotFound(f"there is no project {project!r}; the list of projects has yours")
