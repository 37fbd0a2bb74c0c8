"""One trace for each job, from its submission to its last result, over all processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from structlog.testing import capture_logs

from api.main import create_app
from normlab.specs.studies import StudySpec
from service import traces
from service.jobs.doorbell import SilentDoorbell
from service.requests import answering
from service.settings import Settings
from service.store.database import Database
from service.studies import studies
from service.traces import Context, Span
from tests.api.process import TOKEN, api_process
from tests.api.serving import client_of
from tests.collector import collecting
from tests.service.work import claim, reap, submit
from workers.attempt_traces import Traced
from workers.process import job_environment

from .conftest import LONG, SHORT
from .floor import Floor

PARENT = Context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
EPOCHS = 30  # more than pass before a worker can be asked to leave
A_JOB = {"normalizer": "batch", "dataset": {"name": "digits"}}


class ListedTraces(traces.Traces):
    """Keeps spans in a list, without OpenTelemetry."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def record(self, span: Span) -> None:
        self.spans.append(span)

    def close(self) -> None:
        """There is nothing to export."""


def test_all_that_happens_to_a_job_is_one_trace_over_api_and_workers(
    floor: Floor, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        with api_process(database_url, tmp_path, broker_url=floor.broker_url) as api:
            headers = {"Authorization": f"Bearer {TOKEN}", "traceparent": PARENT.header}
            spec = {**LONG, "epochs": EPOCHS}
            answer = httpx.post(f"{api.url}/v1/jobs", json=spec, headers=headers, timeout=60)
            assert answer.status_code == 202, answer.text
            job = answer.json()["id"]
            first = floor.hire(NORMLAB_POLL_S=0.5, **told)
            floor.until_learning(job)
            first.terminate()
            assert first.wait(240) == 0
            floor.hire(NORMLAB_POLL_S=0.5, **told)
            floor.until_state(job, "succeeded")
            floor.until(lambda: len(collector.named("attempt")) == 2)
            floor.until(lambda: bool(collector.named("POST /v1/jobs")))
        (posted,) = collector.named("POST /v1/jobs")
        attempts = collector.named("attempt")
        assert {span.trace for span in collector.spans} == {PARENT.trace}
        assert (posted.part, posted.parent) == ("normlab-api", PARENT.span)
        assert [a.attributes["normlab.ending"] for a in attempts] == ["released", "finished"]
        assert {a.parent for a in attempts} == {posted.id}
        assert len(collector.named("queue")) == 2
        assert posted.since_ns <= attempts[0].since_ns <= attempts[1].since_ns
        within = {attempt.id for attempt in attempts}
        for name in ("start", "epoch", "evaluation", "write results"):
            spans = collector.named(name)
            assert {span.parent for span in spans} <= within, name
            assert all(span.since_ns <= span.until_ns for span in spans), name
        assert len(collector.named("start")) == 2
        steps = [span.attributes["normlab.step"] for span in collector.named("epoch")]
        assert steps == [span.attributes["normlab.step"] for span in collector.named("evaluation")]
        assert len(steps) == len(set(steps)) == EPOCHS
        assert {a.part for a in attempts} == {"normlab-worker"}


def test_the_next_worker_reports_the_attempt_of_a_lost_one(database: Database) -> None:
    submit(database)
    claim(database)
    with database.begin() as connection:
        connection.execute(text("update job set lease_until = clock_timestamp()"))
    assert reap(database) == 1
    again = claim(database)
    collected = ListedTraces()
    Traced(collected, again)
    queue, attempt = collected.spans
    assert (queue.name, attempt.name) == ("queue", "attempt")
    assert attempt.problem == "its worker was lost"
    assert attempt.attributes["normlab.attempt"] == 1
    assert attempt.until_s == queue.since_s <= queue.until_s
    assert attempt.since_s < attempt.until_s
    assert {queue.context.trace, attempt.context.trace} == {again.job.hex}


@pytest.fixture
def collected() -> ListedTraces:
    return ListedTraces()


@pytest.fixture
def app(database_url: str, tmp_path: Path, collected: ListedTraces) -> FastAPI:
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        token=TOKEN,
        inspector_socket=tmp_path / "nobody",
    )
    return create_app(settings, SilentDoorbell(), collected)


@pytest.mark.parametrize("sent", [None, "nonsense", f"00-{32 * '0'}-{16 * '1'}-01"])
def test_a_submission_without_a_usable_parent_begins_a_trace_with_the_requests_id(
    sent: str | None, app: FastAPI, collected: ListedTraces, database: Database
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", **({"traceparent": sent} if sent else {})}
    with client_of(app) as client:
        answer = client.post("/v1/jobs", json=A_JOB, headers=headers)
        assert client.get("/v1/jobs", headers=headers).status_code == 200
    (span,) = collected.spans
    assert span.parent is None
    assert span.context.trace == answer.headers["X-Request-Id"]
    assert claim(database).trace == span.context.header


def test_each_cell_of_a_study_has_a_trace_of_its_own(database: Database) -> None:
    study = {"name": "s", "base": SHORT, "seeds": 2}
    with answering(32 * "a", PARENT.header):
        studies.create(
            database,
            StudySpec.model_validate(study),
            owner="me",
            place=lambda _: ("cpu", "it is asked for"),
            check=lambda _: [],
        )
    with database.begin() as connection:
        rows = connection.execute(text("select id, trace from job")).all()
    assert [row.trace for row in rows] == [None, None]
    assert {traces.trace_of(row.id, row.trace) for row in rows} == {
        (row.id.hex, None) for row in rows
    }


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    script = (
        "import sys, api.main, workers.app, workers.worker\n"
        "from service.traces import exported\n"
        "assert exported('a-part', {'OTEL_SERVICE_NAME': 'x'}) is None\n"
        "parts = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(parts)])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_service_without_opentelemetry_works_on_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        made = traces.exported("a-part", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert made is None
    assert "normlab[tracing]" in lines[0]["reason"]


def test_a_collector_that_is_away_costs_no_job_and_no_stop() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}  # nobody listens there
    made = traces.exported("a-part", environment)
    assert made is not None
    made.record(Span("attempt", PARENT, None, 1.0, 2.0))
    made.close()


def test_jobs_do_not_see_the_password_of_the_collector(tmp_path: Path) -> None:
    given = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret", "HOME": "/home/me"}
    assert "secret" not in str(job_environment(given, "cpu", tmp_path))
