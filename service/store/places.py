"""The position of a background loop in all jobs, so that it continues there after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

_READ = text("select moment, job from loop_place where loop = :loop")
# Several processes may run the same loop; a late one must not move the position back.
_ADVANCE = text("""
    insert into loop_place (loop, moment, job) values (:loop, :moment, :job)
    on conflict (loop) do update set moment = excluded.moment, job = excluded.job
    where loop_place.moment is null
        or (loop_place.moment, loop_place.job) < (excluded.moment, excluded.job)
""")
_LEAVE = text("delete from loop_place where loop = :loop")


@dataclass(frozen=True, order=True)
class LastExamined:
    """The last job that was examined, in order of these fields; None: there was none yet."""

    moment: datetime | None = None
    job: UUID | None = None


def read(connection: Connection, loop: str) -> LastExamined:
    """Return the place of *loop*."""
    found = connection.execute(_READ, {"loop": loop}).one_or_none()
    return LastExamined() if found is None else LastExamined(found.moment, found.job)


def advance(connection: Connection, loop: str, place: LastExamined) -> None:
    """Record that *loop* has reached *place*."""
    connection.execute(_ADVANCE, {"loop": loop, **vars(place)})


def leave(connection: Connection, loop: str) -> None:
    """Record that *loop* will never have anything more to examine."""
    connection.execute(_LEAVE, {"loop": loop})
