"""A job's log: the output of its attempts, in bounded pieces, read by byte offset."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import ENDED, LogPage
from service.jobs.leases import Lease
from service.jobs.reading import unknown
from service.store import events
from service.store.database import Database
from service.store.identity import parse_id

SEGMENT_BYTES = 64 * 1024
MAX_LOG_BYTES = 16 * 1024 * 1024
MAX_READ_BYTES = 4 * 1024 * 1024
_CUT = b"\n[the log is full: what follows was left out]\n"

_ENDS = text("""
    select coalesce(max(position + size), 0) as job_end,
        coalesce(max(start + size) filter (where attempt = :attempt), 0) as attempt_end
    from log_segment where job = :job
""")
_INSERT = text("""
    insert into log_segment (job, position, attempt, start, size, data)
    values (:job, :position, :attempt, :start, :size, :data)
""")
_READ = text("""
    select position, data from log_segment
    where job = :job and position + size > :offset and position < :offset + :limit
    order by position
""")
_JOB = text("""
    select j.state, coalesce(max(s.position + s.size), 0) as log_end
    from job j left join log_segment s on s.job = j.id where j.id = :job group by j.state
""")


def append(connection: Connection, lease: Lease, start: int, data: bytes) -> None:
    """
    Store a piece of *lease*'s output, in a transaction that holds the lease.

    *start* is the piece's offset in the attempt's output. Stored bytes are skipped, so
    a piece may be sent twice. Output beyond MAX_LOG_BYTES per job is dropped, and the log
    says so.
    """
    values = {"job": lease.job, "attempt": lease.attempt}
    job_end, attempt_end = connection.execute(_ENDS, values).one()
    new = data[max(0, attempt_end - start) :]
    if not new or job_end >= MAX_LOG_BYTES:
        return
    if job_end + len(new) > MAX_LOG_BYTES:
        new = new[: MAX_LOG_BYTES - job_end] + _CUT
    _write(connection, lease, job_end, max(start, attempt_end), new)
    events.notify(connection, lease.job)


def read(database: Database, job: str, offset: int = 0, limit: int = 256 * 1024) -> LogPage:
    """
    Return a piece of the log of *job* from *offset* on.

    A negative *offset* counts from the end. A piece ends at a character boundary, so pieces
    that are read in sequence never split a character.

    Raises:
        NotFound: if there is no such job.
    """
    if not 1 <= limit <= MAX_READ_BYTES:
        rule = f"must lie between 1 and {MAX_READ_BYTES}"
        raise InvalidSpec(f"limit={limit} {rule}", [FieldProblem("limit", rule)])
    key = parse_id(job)
    with database.autocommit() as connection:
        found = connection.execute(_JOB, {"job": key}).first()
        if found is None:
            raise unknown(job)
        begin = offset if offset >= 0 else max(0, found.log_end + offset)
        begin = min(begin, found.log_end)
        data = _slice(connection, key, begin, limit)
    at_end = begin + len(data) >= found.log_end
    if not at_end:
        data = _whole_characters(data)
    return LogPage(
        offset=begin,
        next_offset=begin + len(data),
        text=data.decode(errors="replace"),
        ended=at_end and found.state in ENDED,
    )


def _write(connection: Connection, lease: Lease, position: int, start: int, data: bytes) -> None:
    for at in range(0, len(data), SEGMENT_BYTES):
        part = data[at : at + SEGMENT_BYTES]
        values = {"job": lease.job, "attempt": lease.attempt, "size": len(part), "data": part}
        connection.execute(_INSERT, {**values, "position": position + at, "start": start + at})


def _slice(connection: Connection, job: UUID, offset: int, limit: int) -> bytes:
    values = {"job": job, "offset": offset, "limit": limit}
    rows = connection.execute(_READ, values).all()
    if not rows:
        return b""
    skipped = offset - rows[0].position
    return b"".join(row.data for row in rows)[skipped : skipped + limit]


def _whole_characters(data: bytes) -> bytes:
    for back in range(1, min(4, len(data))):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # the first byte of the last character
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
    return data
