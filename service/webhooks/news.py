"""Find the events for webhooks, and store a message for each of them in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from service.store.database import Database
from service.store.events import to_json
from service.store.identity import new_id
from service.studies.records import read_records

_AT_ONCE = 100
# After an outage of the database, all workers look silent until their next heartbeats.
_LOST = text("""
    update worker set lost_at = clock_timestamp()
    where lost_at is null and live_until < clock_timestamp() - make_interval(secs => :patience_s)
        and pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => :patience_s)
    returning id, device, hostname, busy, seen_at
""")
# Searches and studies that decide say themselves when they have ended.
_ENDED = text("""
    select s.id from study s
    where (s.announced_at is null or s.announced_at < s.asked_at) and s.trashed_at is null
        and s.planned = 0 and not s.cancelling and (
            s.state in ('complete', 'failed', 'cancelled')
            or (s.state = 'active' and not jsonb_exists_any(s.spec, array['search', 'decide'])))
        and not exists (
            select from study_cell c left join job j on j.id = c.job
            where c.study = s.id and not c.pruned
                and (c.job is null or j.state in ('queued', 'running')))
    order by s.id limit :limit for update of s skip locked
""")
_ANNOUNCED = text("update study set announced_at = clock_timestamp() where id = any(:studies)")
_WRITE = text("""
    insert into delivery (id, url, kind, body) values (:id, :url, :kind, cast(:body as jsonb))
""")


class Herald:
    """
    Announces ended studies and lost workers, each once; any number of processes may.

    Args:
        urls: the URLs of the webhooks. Without webhooks, events are marked as announced too, so
            that a webhook that is added later gets no old messages.
        patience_s: how much longer a worker may be silent than its limit.
    """

    def __init__(self, database: Database, urls: Sequence[str], patience_s: float) -> None:
        self._database = database
        self._urls = urls
        self._patience_s = patience_s

    def round(self) -> int:
        """Announce new events; return how many."""
        return self._lost_workers() + self._ended_studies()

    def _lost_workers(self) -> int:
        with self._database.begin() as connection:
            lost = connection.execute(_LOST, {"patience_s": self._patience_s}).mappings().all()
            for row in lost:
                worker = {**row, "seen_at": row["seen_at"].isoformat()}
                self._write(connection, "worker.lost", {"worker": worker})
        return len(lost)

    def _ended_studies(self) -> int:
        with self._database.begin() as connection:
            ended: list[UUID] = list(connection.execute(_ENDED, {"limit": _AT_ONCE}).scalars())
            if not ended:
                return 0
            connection.execute(_ANNOUNCED, {"studies": ended})
            for study in read_records(connection, ended):
                self._write(connection, "study.ended", {"study": study.model_dump(mode="json")})
        return len(ended)

    def _write(self, connection: Connection, kind: str, news: dict[str, Any]) -> None:
        for url in self._urls:
            message = new_id()
            body = to_json({"id": str(message), "kind": kind, **news})
            values = {"id": message, "url": url, "kind": kind, "body": body}
            connection.execute(_WRITE, values)
