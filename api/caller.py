"""A caller of the API, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from normlab.errors import Forbidden
from normlab.records.projects import DEFAULT, Role
from service.store import projects
from service.store.audit import Actor
from service.store.sight import EVERYTHING, Sight
from service.store.tokens import Scope

CALLER = "normlab.caller"
"""The key of the caller in the scope of a request, once the caller is known."""


@dataclass(frozen=True)
class Credential:
    """The proof of a caller: a program's token, or the id of a browser's session."""

    kind: Literal["token", "session"]
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Caller:
    """
    A caller and its permissions.

    Args:
        token: None for the operator's token, which has no row.
        roles: the roles in its projects; an admin may do everything in every project.
        per_minute: how many requests it may make; None for any number.
    """

    owner: str
    scopes: frozenset[Scope]
    token: UUID | None = None
    session: UUID | None = None
    roles: Mapping[str, Role] = field(default_factory=dict, hash=False)
    per_minute: int | None = None

    @property
    def actor(self) -> Actor:
        """The actor that the audit trail names."""
        return Actor(self.owner, self.token)

    @property
    def sight(self) -> Sight:
        """The projects that it may see."""
        return EVERYTHING if "admin" in self.scopes else Sight(frozenset(self.roles))

    @property
    def targets(self) -> list[str]:
        """The projects in which it is a member and may submit, the default one first."""
        return [name for name in self.projects() if self.may("submit", name)]

    def projects(self, *further: str | None) -> list[str]:
        """Return the projects in which it is a member, and *further* ones, the default first."""
        names = {*self.roles, *(name for name in further if name)}
        return sorted(names, key=lambda name: (name != DEFAULT, name))

    @property
    def own_roles(self) -> Mapping[str, Role]:
        """Its roles in projects; it is an admin of those that it sees and that are not listed."""
        return {} if "admin" in self.scopes else self.roles

    def may(self, role: Role, project: str) -> bool:
        """Return whether it has *role*, or a larger one, in *project*."""
        if "admin" in self.scopes:
            return True
        held = self.roles.get(project)
        if held is None or (role != "read" and "submit" not in self.scopes):
            return False
        return projects.RANKS[held] >= projects.RANKS[role]

    def may_change(self, owner: str, project: str) -> bool:
        """Return whether it may change what *owner* added to *project*."""
        return (owner == self.owner and self.may("submit", project)) or self.may("admin", project)

    def check_may_change(self, owner: str, project: str, what: str) -> None:
        """Raise unless this caller may change *what*, which *owner* added to *project*."""
        if not self.may_change(owner, project):
            raise Forbidden(
                f"{what} belongs to {owner!r} and this token to {self.owner!r}, whose role in "
                f"project {project!r} is {self.roles.get(project)!r}; its owner with the role "
                "'submit', somebody who administers the project, or an admin token can do this"
            )

    def check_owns(self, owner: str, what: str) -> None:
        """Raise unless *what* of *owner* belongs to this caller, or the caller is an admin."""
        if owner != self.owner and "admin" not in self.scopes:
            raise Forbidden(
                f"{what} belongs to {owner!r} and this token to {self.owner!r}; "
                "its owner or an admin token can do this"
            )
