"""What has become of files that the keep-rules of a project have removed."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text

_LAST = text("""
    select to_char(max(discarded_at) at time zone 'UTC', 'YYYY-MM-DD') as day from discarded
    where job = :job and (name = :what or kind = :what)
""")


def removal(connection: Connection, job: UUID, what: str) -> str | None:
    """
    Say when files of *job* were removed; None: none was.

    Args:
        what: the name of a file, or a kind of files.
    """
    day = connection.execute(_LAST, {"job": job, "what": what}).scalar()
    if day is None:
        return None
    return f"removed on {day} (UTC) by the keep-rules of its project"
