"""What operators see: metrics that their dashboards and alerts name, and ids through all logs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from normlab.events import Failed
from service.jobs import leases, workers
from service.settings import Settings
from service.store.database import Database
from tests.api.conftest import a_job
from workers.endings import Ending
from workers.ledger import FencedOff, Lags, Ledger
from workers.reading import Harvest
from workers.supervisor import Supervisor
from workers.uploads import Uploads

MONITORING = Path(__file__).parents[2] / "monitoring"
FILES = ["alerts.yml", "grafana-dashboard.json"]
NAME = re.compile(r"\bnormlab_\w+")
LOST = Failed(code="x", failure_kind="lost", retryable=True, message="gone")


class Fenced(Supervisor):
    """A supervisor whose attempts lose their job."""

    def _run(self, claim: leases.Lease, ledger: Ledger, uploads: Uploads) -> Ending:
        raise FencedOff("a test wants it")


def _fence(database: Database, tmp_path: Path) -> None:
    claim = leases.claim(database, "cpu", "w", 30)
    assert claim is not None
    supervisor: Any = Fenced(database, Settings(data_dir=tmp_path), None, 1, None)
    supervisor.work_on(claim)


@pytest.fixture
def exposed(client: httpx.Client, database: Database, tmp_path: Path) -> dict[str, Any]:
    """The metrics of a stack in which something of each kind has happened."""
    for _ in range(3):
        client.post("/v1/jobs", json=a_job())
    first = leases.claim(database, "cpu", "w", 30)
    assert first is not None
    leases.fail(database, first, LOST, backoff_s=1000)
    _fence(database, tmp_path)
    workers.beat(
        database, worker="w", device="cpu", hostname="h", slots=2, busy=1, description="",
        memory_bytes=None, versions={}, facts={"ingest_lag_s": 2.5},
    )  # fmt: skip
    found = text_string_to_metric_families(client.get("/metrics").text)
    return {family.name: family.samples for family in found}


def test_the_stacks_metrics_say_what_has_happened(exposed: dict[str, Any]) -> None:
    def only(name: str) -> tuple[dict[str, str], float]:
        (sample,) = exposed[name]
        return sample.labels, sample.value

    failed = {"device": "cpu", "outcome": "lost", "failure_kind": "lost"}
    assert only("normlab_attempts") == (failed, 1)
    assert only("normlab_fenced") == ({"device": "cpu"}, 1)
    assert 0 < only("normlab_queue_oldest_seconds")[1] < 100
    assert 0 < only("normlab_lease_left_seconds")[1] < 30
    assert 0 <= only("normlab_worker_silent_seconds")[1] < 100
    assert only("normlab_ingest_lag_seconds")[1] == 2.5
    assert only("normlab_worker_able") == ({"device": "cpu", "worker": "w"}, 1)
    assert only("normlab_database_bytes")[1] > 1 << 20
    assert only("normlab_webhooks_waiting")[1] == 0


@pytest.mark.parametrize("name", FILES)
def test_every_metric_that_dashboards_and_alerts_name_exists(
    name: str, exposed: dict[str, Any]
) -> None:
    wanted = set(NAME.findall((MONITORING / name).read_text()))
    there = set(exposed) | {f"{family}{end}" for family in exposed
                            for end in ("_total", "_count", "_bucket", "_sum")}  # fmt: skip
    assert len(wanted) > 10
    assert wanted - there == set()


def test_alerts_and_panels_are_complete() -> None:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule), rule
        assert {"summary", "action"} == set(rule["annotations"]), rule["alert"]
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) > 12
    rules = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["rule_files"]
    assert rules == ["alerts.yml"]


def test_the_request_that_submitted_a_job_is_named_in_every_line_about_it(
    client: httpx.Client, database: Database, tmp_path: Path
) -> None:
    made = client.post("/v1/jobs", json=a_job())
    request, job = made.headers["x-request-id"], made.json()["id"]
    with database.begin() as connection:
        assert connection.execute(text("select request from job")).scalar_one() == request
    with capture_logs(processors=[merge_contextvars]) as told:
        _fence(database, tmp_path)
    (line,) = [line for line in told if line["event"] == "attempt_fenced_off"]
    assert (line["request"], line["job"], line["attempt"]) == (request, job, 1)


def test_unwritten_results_count_from_when_the_oldest_came(database: Database) -> None:
    ledger, lags = Ledger(database, None, None), Lags()
    with lags.watching(ledger):
        assert lags.longest_s == 0
        ledger.take(Harvest())
        assert lags.longest_s == 0
        ledger.take(Harvest(log=b"x"))
        first = lags.longest_s
        ledger.take(Harvest(log=b"y"))
        assert lags.longest_s > first > 0
    assert lags.longest_s == 0
