"""Inside a network over HTTP: matrices of measures, its layers, a normalizer at work, the pages."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from normlab.client import Client
from normlab.errors import InvalidSpec, NotFound
from normlab.events import Diagnostic, Metrics
from normlab.specs.normalizers import BY_KIND
from service.results import reports
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job, log_in
from tests.api.team import a_team
from tests.service.work import claim, series, submit

_LAYER = {
    "name": "1.norm", "role": "normalizer", "type": "BatchNorm(8)", "input": [8, 4, 4],
    "output": [8, 4, 4], "parameters": 16, "state": 18, "products": 0, "values": 128,
    "calls": 1, "weights_normalized": False, "after": [],
}  # fmt: skip
_SAMPLE = {"what": "activations", "shape": [1, 1, 1], "x": [1.0], "y": [0.0], "dy": [1.0],
           "dx": [0.0], "evaluated": [0.0], "doc": "y = x"}  # fmt: skip


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """A process that builds networks, with fixed answers; yields what it is asked."""
    asked: list[dict[str, Any]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "nobody"))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                asked.append(json.loads(lines.readline()))
                answer = {"layers": [_LAYER]} if "anatomy" in asked[-1] else _SAMPLE
                connection.sendall(json.dumps(answer).encode() + b"\n")

    threading.Thread(target=serve, daemon=True).start()
    yield asked
    listener.close()


@pytest.fixture
def normlab_client(url: str) -> Iterator[Client]:
    with Client(url, OPERATORS_TOKEN) as client:
        yield client


def test_all_that_diagnostics_found_comes_in_one_answer(
    normlab_client: Client, database: Database
) -> None:
    job = submit(database, diagnostics=["power", "ablation"], epochs=2, dataset={"name": "digits"})
    told = [
        Metrics(series={"power/1.norm/norm/total": series(40, 80)}),
        Diagnostic(name="ablation", step=80, record={"zero": {"fractions": [0]}}),
        Diagnostic(name="weight_norms", step=80, record={"epoch": 1, "norms": {"0": [2.0]}}),
    ]
    assert reports.keep_all(database, claim(database), told)
    found = normlab_client.inside.found(job.id[-8:])
    assert found.steps_per_epoch == 37
    assert found.asked == ["power", "ablation"]
    assert [one.name for one in found.findings] == ["ablation"]
    by_name = normlab_client.inside.matrices(job.id)
    assert by_name["power/norm/total"].values == [[0.5, 0.5]]
    assert by_name["weight_norms/largest"].sites == ["0"]


def test_the_network_is_built_once_for_jobs_that_share_it(
    normlab_client: Client, database: Database, builder: list[dict[str, Any]]
) -> None:
    for seed in (0, 1):
        (layer,) = normlab_client.inside.network(submit(database, seed=seed).id).layers
        assert (layer.name, layer.output, layer.after) == ("1.norm", [8, 4, 4], [])
    assert len(builder) == 1


def test_without_a_process_that_builds_networks_the_answer_says_so(
    normlab_client: Client, database: Database
) -> None:
    found = normlab_client.inside.network(submit(database).id)
    assert found.layers == []
    assert "does not answer now" in found.reason
    assert "does not answer now" in normlab_client.inside.sample("batch").reason


def test_a_kind_runs_with_the_options_that_are_asked_for(
    normlab_client: Client, builder: list[dict[str, Any]]
) -> None:
    found = normlab_client.inside.sample("group", {"groups": 2}, samples=8, shift=-0.5)
    assert found.doc == "y = x"
    asked = builder[0]["sample"]
    assert (asked["normalizer"]["groups"], asked["samples"], asked["shift"]) == (2, 8, -0.5)


def test_options_out_of_range_are_refused_with_their_rule(normlab_client: Client) -> None:
    with pytest.raises(InvalidSpec, match="does not divide 8 channels"):
        normlab_client.inside.sample("group", {"groups": 3})
    with pytest.raises(InvalidSpec, match="eps"):
        normlab_client.inside.sample("group", {"eps": -1})
    with pytest.raises(InvalidSpec, match="samples"):
        normlab_client.inside.sample("group", samples=1000)
    with pytest.raises(NotFound, match="no normalizer 'nobody'"):
        normlab_client.inside.sample("nobody")


@pytest.mark.parametrize("options", ["[1]", "{", "1", '{"eps": 1, "eps": 2}'])
def test_options_are_one_json_object(client: httpx.Client, options: str) -> None:
    answer = client.get("/v1/normalizers/group/sample", params={"options": options})
    assert answer.status_code == 422


def test_the_page_of_each_kind_has_its_formula_options_and_devices(client: httpx.Client) -> None:
    log_in(client)
    for kind, spec in BY_KIND.own.items():
        page = client.get(f"/normalizers/{kind}")
        assert page.status_code == 200
        assert spec.source.split(",")[0].split(" and ")[0] in page.text
        for option in spec.model_fields.keys() - {"kind"}:
            assert f"<code>{option}</code>" in page.text
    assert "y = w (x - M_c) / sqrt(V_c + eps) + b" in client.get("/normalizers/batch").text
    assert "backward control process" in client.get("/normalizers/online").text
    assert client.get("/normalizers/nobody").status_code == 404


def test_the_page_inside_a_job_teaches_what_to_ask_for(
    client: httpx.Client, database: Database
) -> None:
    log_in(client)
    bare = client.get(f"/jobs/{submit(database, name='<b>bare</b>').id}/inside").text
    assert "requested no diagnostics" in bare
    assert "normlab submit job.yaml --set" in bare
    assert "<b>bare</b>" not in bare
    some = client.get(f"/jobs/{submit(database, diagnostics=['power']).id}/inside").text
    assert "<code>landscape</code>" in some
    assert "<code>power</code>" not in some


def test_a_run_that_is_gone_from_beside_another_is_named_and_the_other_is_shown(
    client: httpx.Client, database: Database
) -> None:
    log_in(client)
    job = submit(database, name="which stays").id
    page = client.get(f"/jobs/{job}/inside?beside=<b>nobody")
    assert (page.status_code, "Inside which stays" in page.text) == (200, True)
    assert "The run &lt;b&gt;nobody, which this link compares with, was deleted" in page.text
    two = client.get(f"/jobs/{job}/inside?beside={submit(database).id}")
    assert (two.status_code, "was deleted" in two.text) == (200, False)
    assert client.get(f"/jobs/nobody/inside?beside={job}").status_code == 404


def test_a_run_of_another_project_does_not_stand_beside_ones_own(
    client: httpx.Client, database: Database
) -> None:
    team = a_team(database, client)
    theirs = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
    own = client.post("/v1/jobs", json=a_job(), params={"project": "blue"}, headers=theirs).json()
    page = f"/jobs/{own['id']}/inside"
    assert client.get(page, headers=team.headers["bea"]).status_code == 200
    for other in (team.job, team.ended):
        answer = client.get(page, params={"beside": other}, headers=team.headers["bea"])
        assert f"The run {other}, which this link compares with, was deleted" in answer.text
        assert answer.text.count(other) == 1  # neither its name nor its curves
