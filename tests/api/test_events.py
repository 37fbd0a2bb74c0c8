"""Streams of events: complete, in order, resumable, immediate, and cheap for the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from fastapi import FastAPI
from httpx_sse import ServerSentEvent, connect_sse
from sqlalchemy import text

from api import tellings
from api.routes import events as routes
from normlab.events import Finished, Progress, Series
from normlab.records import EventRecord
from service.jobs import changes, leases
from service.jobs.leases import Lease
from service.results import metric_reports, reports
from service.store import events as journal
from service.store.database import Database
from service.store.identity import parse_id
from tests.api.conftest import a_job


@contextmanager
def following(
    client: httpx.Client, path: str, **headers: str
) -> Iterator[Iterator[ServerSentEvent]]:
    with connect_sse(client, "GET", path, headers=headers, timeout=60) as source:
        assert source.response.status_code == 200
        yield source.iter_sse()


def record(event: ServerSentEvent) -> EventRecord:
    return EventRecord.model_validate_json(event.data)


def submit(client: httpx.Client) -> str:
    return str(client.post("/v1/jobs", json=a_job()).raise_for_status().json()["id"])


def claim(database: Database) -> Lease:
    found = leases.claim(database, "cpu", "w", 30)
    assert found is not None
    return found


def test_a_stream_sends_all_events_of_a_job_and_ends(
    client: httpx.Client, database: Database
) -> None:
    job = submit(client)
    leases.finish(database, claim(database), Finished(step=3, summary={}))
    with following(client, f"/v1/jobs/{job}/events") as events:
        seen = list(events)
    kinds = [record(e).kind for e in seen]
    assert kinds[0] == "queued"
    assert kinds[-2:] == ["succeeded", "progress"]
    numbers = [int(e.id) for e in seen if record(e).kind != "progress"]
    assert numbers == sorted(set(numbers))
    assert record(seen[-1]).payload["state"] == "succeeded"


def test_a_stream_continues_after_the_last_event_seen(
    client: httpx.Client, database: Database
) -> None:
    job = submit(client)
    leases.finish(database, claim(database), Finished(step=3, summary={}))
    with following(client, f"/v1/jobs/{job}/events") as events:
        first, *rest = list(events)
    resumed = {"Last-Event-ID": first.id}
    with following(client, f"/v1/jobs/{job}/events", **resumed) as events:
        again = list(events)
    assert [e.data for e in again] == [e.data for e in rest]
    with following(client, f"/v1/jobs/{job}/events?after={first.id}") as events:
        assert [e.id for e in events] == [e.id for e in rest]


def test_events_arrive_by_themselves(
    client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_LOOK_AGAIN_S", 600.0)
    job = submit(client)
    running = claim(database)
    with following(client, f"/v1/jobs/{job}/events") as events:
        while record(next(events)).kind != "running":
            pass
        series = Series(steps=[1], values=[0.5], times=[1.0])
        with database.begin() as connection:
            metric_reports.append(connection, running, {"train/loss": series})
        told = next(e for e in map(record, events) if "train/loss" in e.payload.get("last", {}))
        assert told.payload["last"]["train/loss"]["value"] == 0.5
        progress = Progress(step=2, steps=9, epoch=1, epochs=5)
        reports.keep_all(database, running, [progress])
        assert next(e for e in map(record, events) if e.payload.get("step") == 2)
        leases.finish(database, running, Finished(step=9, summary={}))
        assert [record(e).kind for e in events][-2:] == ["succeeded", "progress"]


def test_all_jobs_are_followed_in_one_stream(client: httpx.Client) -> None:
    submit(client)
    found: list[str] = []

    def follow() -> None:
        with following(client, "/v1/events?after=0") as events:
            found.extend(record(next(events)).job for _ in range(3))

    thread = threading.Thread(target=follow)
    thread.start()
    others = [submit(client), submit(client)]
    thread.join(60)
    assert found[1:] == others


def test_an_open_stream_holds_no_connection_to_the_database(
    app: FastAPI, client: httpx.Client, database: Database
) -> None:
    job = submit(client)
    pool = app.state.normlab.database.engine.pool
    with following(client, f"/v1/jobs/{job}/events") as events:
        next(events)
        next(events)
        deadline = time.monotonic() + 60
        while pool.checkedout() > 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        changes.cancel(database, job)
        list(events)


def test_a_stream_outlives_the_connections_of_the_database(
    client: httpx.Client, database: Database
) -> None:
    job = submit(client)
    with following(client, f"/v1/jobs/{job}/events") as events:
        next(events)
        with database.begin() as connection:
            connection.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            )
        changes.cancel(database, job)
        assert [record(e).kind for e in events][-2:] == ["cancelled", "progress"]


_LOSE_LISTENER = text(
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
    " where datname = current_database() and application_name = 'normlab wakeups'"
)


def lose_listener(database: Database) -> None:
    """End the connection that hears of events, as soon as there is one."""
    deadline = time.monotonic() + 60
    with database.autocommit() as connection:
        while connection.execute(_LOSE_LISTENER).scalars().all() != [True]:
            assert time.monotonic() < deadline, "nobody listens any more"
            time.sleep(0.01)


def test_no_event_is_lost_when_the_listener_loses_its_connection(
    client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_LOOK_AGAIN_S", 600.0)  # then only the listener wakes a stream
    made, told = [], []
    with following(client, "/v1/events?after=0") as events:
        for _ in range(3):
            made.append(submit(client))
            lose_listener(database)
            made.append(submit(client))  # no stream hears of this one
            told += [record(next(events)) for _ in range(2)]
    assert [event.job for event in told] == made
    assert [event.kind for event in told] == ["queued"] * 6


def test_a_stop_of_the_server_ends_its_streams(app: FastAPI) -> None:
    from tests.api.conftest import OPERATORS_TOKEN
    from tests.api.serving import client_of

    with client_of(app) as client:
        client.headers["Authorization"] = f"Bearer {OPERATORS_TOKEN}"
        ended = threading.Event()
        began = threading.Event()

        def follow() -> None:
            with following(client, "/v1/events?after=0") as events:
                began.set()
                list(events)
            ended.set()

        threading.Thread(target=follow, daemon=True).start()
        assert began.wait(60)
        app.state.normlab.wakeups.close()
        assert ended.wait(60)


def test_an_event_is_sent_at_once_even_between_metrics(
    client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_COALESCE_S", 3600)  # a stream that pauses would time out
    job = submit(client)
    work = claim(database)
    with following(client, f"/v1/jobs/{job}/events") as events:
        while record(next(events)).payload.get("state") != "running":
            pass
        for step in range(1, 4):
            reports.keep_all(database, work, [Progress(step=step, steps=9, epoch=0, epochs=1)])
            while record(next(events)).payload.get("step") != step:
                pass  # after this it pauses
            with database.begin() as connection:
                journal.record(connection, work.job, "noted", {})
            while record(next(events)).kind != "noted":
                pass


def test_an_event_is_read_and_encoded_once_for_all_who_follow_a_job(
    app: FastAPI, client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_LOOK_AGAIN_S", 600.0)
    monkeypatch.setattr(app.state.normlab.looks, "_keep_s", 600.0)
    looks: list[int] = []
    of_job = tellings.of_job

    def counted(database: Database, job: str, seq: int) -> tellings.JobTelling:
        looks.append(seq)
        return of_job(database, job, seq)

    monkeypatch.setattr(tellings, "of_job", counted)
    job = submit(client)
    with ExitStack() as stack:
        path = f"/v1/jobs/{job}/events"
        readers = [stack.enter_context(following(client, path)) for _ in range(12)]
        assert {record(next(events)).kind for events in readers} == {"queued"}
        with database.begin() as connection:
            journal.record(connection, parse_id(job), "noted", {"by": "somebody"})
        noted = [next(e for e in events if record(e).kind == "noted") for events in readers]
    assert len({(event.id, event.data) for event in noted}) == 1
    # the first look, one after the event, and one more if the notification of the submission came
    # late
    assert len(looks) <= 4


def test_a_job_that_is_purged_ends_the_streams_that_follow_it(
    client: httpx.Client, database: Database
) -> None:
    job = submit(client)
    with following(client, f"/v1/jobs/{job}/events") as events:
        assert record(next(events)).kind == "queued"
        assert record(next(events)).kind == "progress"
        with database.begin() as connection:
            journal.notify(connection, parse_id(job))
            connection.execute(text("delete from job"))
        assert [event.data for event in events if event.data] == []
