"""Projects and their members: who may read, submit and administer in which project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from normlab.errors import Conflict, NotFound
from normlab.records.projects import (
    DEFAULT,
    EVERYBODY,
    MemberRecord,
    MemberRequest,
    ProjectRecord,
    ProjectRequest,
    Role,
)
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.store.sight import EVERYTHING, IN_SIGHT, Sight, current, unknown_project

OPERATOR = "admin"
"""The owner of the token in the settings, which has no row."""
RANKS: Mapping[Role, int] = {"read": 0, "submit": 1, "admin": 2}
_ROLES = text("select project, role from member where owner in (:owner, :everybody)")
_ADMIN = text("""
    select 1 from token where owner = :owner and 'admin' = any(scopes) and revoked_at is null
        and (expires_at is null or expires_at > clock_timestamp()) limit 1
""")
_INSERT = text("""
    insert into project (name, note, created_by) values (:name, :note, :by)
    on conflict do nothing returning name
""")
_KNOWN = text("select 1 from project where name = :name")
_PUT = text("""
    insert into member (project, owner, role) values (:project, :owner, :role)
    on conflict (project, owner) do update set role = excluded.role
    returning owner, role, added_at
""")
_REMOVE = text("delete from member where project = :project and owner = :owner")
_LIST = text(f"""
    select p.*,
        (select count(*) from job where project = p.name and trashed_at is null) as jobs,
        (select count(*) from study where project = p.name and trashed_at is null) as studies,
        (select coalesce(json_agg(json_build_object(
            'owner', m.owner, 'role', m.role, 'added_at', m.added_at) order by m.owner), '[]')
            from member m where m.project = p.name) as members
    from project p
    where {IN_SIGHT.format(project="p.name")} and (cast(:name as text) is null or p.name = :name)
    order by p.name <> :first, p.name
""")


def roles_of(database: Database, owner: str) -> dict[str, Role]:
    """Return the role of *owner* in each project of which it is a member."""
    with database.autocommit() as connection:
        rows = connection.execute(_ROLES, {"owner": owner, "everybody": EVERYBODY}).all()
    found: dict[str, Role] = {}
    for row in sorted(rows, key=lambda row: RANKS[row.role]):  # the larger role counts
        found[row.project] = row.role
    return found


def sight_of(connection: Connection, owner: str, project: str) -> Sight:
    """Return what *owner* sees now, for background work that *owner* has started in *project*."""
    asked = {"owner": owner, "everybody": EVERYBODY}
    if owner == OPERATOR or connection.execute(_ADMIN, asked).first() is not None:
        return EVERYTHING
    return Sight(frozenset({project, *(row.project for row in connection.execute(_ROLES, asked))}))


def create(database: Database, asked: ProjectRequest, by: Actor) -> ProjectRecord:
    """
    Create a project, whose creator administers it.

    Raises:
        Conflict: a project with this name exists.
    """
    values = {"name": asked.name, "note": asked.note, "by": by.owner}
    with database.begin() as connection:
        if connection.execute(_INSERT, values).first() is None:
            raise Conflict(f"project {asked.name!r} exists already; choose another name")
        _put(connection, asked.name, MemberRequest(owner=by.owner, role="admin"))
        audit.write(connection, by, "project.create", asked.name)
    return get(database, asked.name, {asked.name: "admin"})


def list_projects(database: Database, roles: Mapping[str, Role]) -> list[ProjectRecord]:
    """
    List the projects in sight with their members, the default one first.

    Args:
        roles: the roles of the caller; a caller who sees a project without being a member is an
            admin.
    """
    return _read(database, roles, None)


def get(database: Database, name: str, roles: Mapping[str, Role]) -> ProjectRecord:
    """Return the project *name*; raise NotFound if there is none in sight."""
    found = _read(database, roles, name)
    if not found:
        raise unknown_project(name)
    return found[0]


def check_exists(database: Database, name: str) -> None:
    """Raise NotFound if there is no project *name*."""
    with database.autocommit() as connection:
        _check_known(connection, name)


def put_member(database: Database, project: str, asked: MemberRequest, by: Actor) -> MemberRecord:
    """Add a member to *project*, or give it another role; raise NotFound if there is none."""
    with database.begin() as connection:
        _check_known(connection, project)
        member = _put(connection, project, asked)
        audit.write(connection, by, "project.add", project, owner=asked.owner, role=asked.role)
    return member


def remove_member(database: Database, project: str, owner: str, by: Actor) -> None:
    """Remove a member from *project*; raise NotFound if it is not a member."""
    with database.begin() as connection:
        if connection.execute(_REMOVE, {"project": project, "owner": owner}).rowcount == 0:
            raise NotFound(f"{owner!r} is not a member of project {project!r}")
        audit.write(connection, by, "project.remove", project, owner=owner)


def _read(database: Database, roles: Mapping[str, Role], name: str | None) -> list[ProjectRecord]:
    values = {**current().values, "name": name, "first": DEFAULT}
    with database.autocommit() as connection:
        rows: list[Any] = list(connection.execute(_LIST, values).mappings())
    return [ProjectRecord(**row, role=roles.get(row["name"], "admin")) for row in rows]


def _put(connection: Connection, project: str, asked: MemberRequest) -> MemberRecord:
    values = {"project": project, "owner": asked.owner, "role": asked.role}
    return MemberRecord(**connection.execute(_PUT, values).mappings().one())


def _check_known(connection: Connection, project: str) -> None:
    if connection.execute(_KNOWN, {"name": project}).first() is None:
        raise unknown_project(project)
