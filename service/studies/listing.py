"""Lists of studies: those in sight, page by page."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, text

from normlab.records import StudyPage
from service.store import schema, sight
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.sight import IN_SIGHT
from service.studies.records import read_records

_PAGE = text(f"""
    select * from study where (cast(:before as uuid) is null or id < :before)
        and {IN_SIGHT.format(project="project")}
        and (cast(:project as text) is null or project = :project)
        and (cast(:name as text) is null or name = :name)
        and (cast(:owner as text) is null or owner = :owner)
        and (trashed_at is not null) = :trash
        and (cast(:archived as bool) is null or (archived_at is not null) = :archived)
    order by id desc limit :limit
""")


def list_studies(
    database: Database,
    cursor: str | None = None,
    limit: int = 50,
    *,
    name: str | None = None,
    owner: str | None = None,
    project: str | None = None,
    trash: bool = False,
    archived: bool | None = False,
) -> StudyPage:
    """
    Return one page of the studies in sight, newest first.

    Only those with this *name*, *owner* or *project*, if given.

    Args:
        trash: those in the trash, instead of the others.
        archived: only those that are archived, or that are not; None: both.
    """
    before = None if cursor is None else decode_cursor(cursor, "studies", [UUID])[0]
    with database.autocommit() as connection:
        values = {"before": before, "limit": limit + 1, "name": name, "owner": owner}
        values |= {"trash": trash, "archived": archived, "project": project}
        values |= sight.current().values
        found = [row.id for row in connection.execute(_PAGE, values)]
        records = read_records(connection, found[:limit])
    more = len(found) > limit
    return StudyPage(
        studies=records,
        next_cursor=encode_cursor("studies", [str(found[limit - 1])]) if more else None,
    )


def names_of(database: Database, studies: Collection[str]) -> dict[str, str]:
    """Return the names of those of *studies* that exist, by their ids."""
    if not studies:
        return {}
    s = schema.study.c
    query = select(s.id, s.name).where(s.id.in_([UUID(study) for study in studies]))
    with database.autocommit() as connection:
        return {str(row.id): row.name for row in connection.execute(query)}
