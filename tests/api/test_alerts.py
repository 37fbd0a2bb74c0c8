"""Prometheus itself reads the rules and the panels, and its alerts come when they should."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "monitoring"
ALERTS = MONITORING / "alerts.yml"
FAILED = 'normlab_attempts_total{device="cuda",outcome="failed",failure_kind="%s"}'

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed here: Debian's prometheus"
)


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def firing(tmp_path: Path, series: dict[str, str], alert: str, after: str) -> list[dict[str, str]]:
    """Return the labels with which *alert* fires, where each metric has these values by minute."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    asked = {"expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}', "eval_time": after}
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    # it was told to expect nothing, and names what it got
    return [] if done.returncode == 0 else _labels(done.stdout + done.stderr)


def _labels(said: str) -> list[dict[str, str]]:
    got = said.partition("got:")[2]
    assert got, said
    found = []
    for line in got.splitlines():
        inside = line.partition("{")[2].rpartition("}")[0]
        if inside:
            pairs = (pair.partition("=") for pair in inside.split(", "))
            found.append({name: value.strip('"') for name, _, value in pairs})
    return found


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yml")
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert f"{len(rules)} rules found" in promtool("check", "rules", ALERTS)


def test_prometheus_can_read_what_every_panel_asks_for(tmp_path: Path) -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize(
    ("alert", "series", "labels"),
    [
        ("NormlabDatabaseAway", {"normlab_database_up": "0x9"}, {}),
        (
            "NormlabNobodyTakesJobs",
            {'normlab_queue_oldest_seconds{device="ipu"}': "400x9",
             'normlab_worker_able{device="ipu",worker="w"}': "0x9"},
            {"device": "ipu"},
        ),
        ("NormlabQueueIsOld", {'normlab_queue_oldest_seconds{device="ipu"}': "99999x30"}, {}),
        ("NormlabAttemptsFail", {FAILED % "oom": "0+1x9"}, {"failure_kind": "oom"}),
        ("NormlabJobsAreFenced", {'normlab_fenced_total{device="cpu"}': "0+1x9"}, {}),
        ("NormlabLeasesAreNotReaped", {'normlab_lease_left_seconds{device="cpu"}': "-200x9"}, {}),
        ("NormlabResultsLag", {'normlab_ingest_lag_seconds{worker="w"}': "90x9"}, {"worker": "w"}),
        (
            "NormlabRequestsFail",
            {'normlab_request_seconds_count{status="200"}': "0+90x15",
             'normlab_request_seconds_count{status="503"}': "0+10x15"},
            {},
        ),
    ],
)  # fmt: skip
def test_an_alert_comes_for_what_it_is_about(
    alert: str, series: dict[str, str], labels: dict[str, str], tmp_path: Path
) -> None:
    (found,) = firing(tmp_path, series, alert, after="15m" if "Old" in alert else "8m")
    assert labels.items() <= found.items()


@pytest.mark.parametrize(
    ("alert", "series"),
    [
        (
            "NormlabNobodyTakesJobs",
            {'normlab_queue_oldest_seconds{device="ipu"}': "400x9",
             'normlab_worker_able{device="ipu",worker="w"}': "0x9",
             'normlab_worker_able{device="ipu",worker="v"}': "1x9"},
        ),
        ("NormlabAttemptsFail", {FAILED % "user": "0+1x9"}),
        ("NormlabLeasesAreNotReaped", {'normlab_lease_left_seconds{device="cpu"}': "20x9"}),
        (
            "NormlabRequestsFail",
            {'normlab_request_seconds_count{status="200"}': "0+99x15",
             'normlab_request_seconds_count{status="404"}': "0+9x15",
             'normlab_request_seconds_count{status="503"}': "0+1x15"},
        ),
    ],
)  # fmt: skip
def test_an_alert_does_not_come_for_what_is_well(
    alert: str, series: dict[str, Any], tmp_path: Path
) -> None:
    assert firing(tmp_path, series, alert, after="8m") == []
