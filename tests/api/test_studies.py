"""Studies over HTTP: accepted completely or not at all, completed, tabulated in every format."""

from __future__ import annotations

import csv
import io
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest

from api.main import create_app
from normlab.client import Client
from normlab.events import Finished, Series
from normlab.records import StudyPreview
from service.jobs import leases
from service.jobs.doorbell import SilentDoorbell
from service.results import metric_reports
from service.settings import Settings
from service.store.database import Database
from service.studies import previews
from tests.api.conftest import OPERATORS_TOKEN, log_in, token_header
from tests.api.serving import serve

GRID: dict[str, Any] = {
    "name": "small batches",
    "base": {"dataset": {"name": "digits"}, "epochs": 2},
    "axes": {"normalizer": ["batch", "layer"], "batch_size": [32, 2]},
    "seeds": 2,
}
BASE = {"normalizer": "batch", "dataset": {"name": "digits"}}
CELLS = 1100


def work(database: Database) -> None:
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        value = 0.9 - 0.1 / claim.spec.batch_size + claim.spec.seed / 100
        series = Series(steps=[1, 2], values=[value / 2, value], times=[time.time()] * 2)
        with database.begin() as connection:
            metric_reports.append(connection, claim, {"val/accuracy": series})
        leases.finish(database, claim, Finished(step=2, summary={}))


def test_a_grid_is_accepted_once(client: httpx.Client) -> None:
    first = client.post("/v1/studies", json=GRID)
    again = client.post("/v1/studies", json=GRID)
    assert first.status_code == again.status_code == 202
    assert first.json()["counts"] == {"queued": 8}
    assert again.json()["id"] == first.json()["id"]
    assert first.headers["location"] == f"/v1/studies/{first.json()['id']}"
    assert len(client.get("/v1/jobs", params={"study": first.json()["id"]}).json()["jobs"]) == 8


def test_studies_are_found_by_name_among_the_callers_studies(
    nobody: httpx.Client, database: Database
) -> None:
    ada, bob = (token_header(database, name, "submit") for name in ("ada", "bob"))
    made = [nobody.post("/v1/studies", json=GRID, headers=who).json()["id"] for who in (ada, bob)]

    def found(who: dict[str, str], **query: str) -> list[str]:
        page = nobody.get("/v1/studies", headers=who, params=query).raise_for_status()
        return [study["id"] for study in page.json()["studies"]]

    assert found(ada, name="small batches") == made[::-1]
    assert found(ada, name="small batches", mine="true") == [made[0]]
    assert found(bob, mine="true") == [made[1]]
    assert found(bob, name="small", mine="true") == []
    hidden = nobody.get("/v1/studies", headers=bob, params={"name": "a\x00"})
    assert (hidden.status_code, hidden.json()["errors"][0]["field"]) == (422, "name")


def test_results_agree_in_every_format(client: httpx.Client, database: Database) -> None:
    study = client.post("/v1/studies", json=GRID).json()["id"]
    work(database)
    url = f"/v1/studies/{study}/results"
    rows = client.get(url).json()["rows"]
    assert [row["mean"] for row in rows] == pytest.approx([0.901875, 0.855] * 2)
    lines = list(csv.DictReader(io.StringIO(client.get(url, params={"format": "csv"}).text)))
    assert len(lines) == 8
    for form in ("latex", "markdown"):
        assert "0.902" in client.get(url, params={"format": form}).text
    parquet = client.get(url, params={"format": "parquet"})
    assert parquet.content[:4] == b"PAR1"
    one = {"group_by": "batch_size", "where": "normalizer=batch", "reduction": "best"}
    best = client.get(url, params=one).json()["rows"]
    assert [(row["labels"], row["n"]) for row in best] == [
        ({"batch_size": "32"}, 2), ({"batch_size": "2"}, 2),
    ]  # fmt: skip
    csv_of_one = client.get(url, params={"format": "csv", "where": "batch_size=2"}).text
    assert len(list(csv.DictReader(io.StringIO(csv_of_one)))) == 4


@pytest.mark.parametrize(
    ("params", "field", "rule"),
    [
        ({"group_by": "batch_size"}, "group_by", "pool normalizer (batch, layer)"),
        ({"group_by": "batch_size", "format": "latex"}, "group_by", "pool normalizer"),
        ({"where": "batch_size"}, "where", "PATH=VALUE"),
        ({"where": "batch_size=7"}, "where", "one of 32, 2"),
        ({"where": "width=7"}, "where", "one of normalizer, batch_size"),
    ],
)
def test_rows_that_pool_an_axis_and_wrong_choices_are_422_with_valid_values(
    client: httpx.Client, database: Database, params: dict[str, str], field: str, rule: str
) -> None:
    study = client.post("/v1/studies", json=GRID).json()["id"]
    work(database)
    answer = client.get(f"/v1/studies/{study}/results", params=params)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert rule in error["rule"]


def test_the_client_creates_changes_and_reads_studies(url: str, database: Database) -> None:
    with Client(url, OPERATORS_TOKEN) as client:
        assert client.studies.preview(GRID).cells == 8
        study = client.studies.create(GRID)
        assert client.studies.pause(study.id).state == "paused"
        assert client.studies.resume(study.id).state == "active"
        client.studies.set_priority(study.id, 3)
        work(database)
        assert client.studies.wait(study.id, timeout_s=120).state == "complete"
        grown = client.studies.extend(study.id, {**GRID, "seeds": 3})
        assert grown.counts == {"succeeded": 8, "queued": 4}
        client.studies.cancel(study.id)
        assert client.studies.complete(study.id).counts == {"succeeded": 8, "queued": 4}
        compared = client.studies.compare(study.id, "batch_size", "32", "2")
        assert [row.difference for row in compared.rows] == pytest.approx([0.046875] * 2)
        frame = client.studies.frame(study.id)
        assert len(frame) == 12
        assert [s.id for s in client.studies.list()] == [study.id]
        assert len(client.studies.get(study.id).grid) == 12


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"axes": {"normaliser": ["batch"]}}, "axes.normaliser", "did you mean 'normalizer'?"),
        ({"axes": {"normalizer": "batch"}}, "axes.normalizer", "must be a list, not 'batch'"),
        ({"axes": [{"epochs": 5}]}, "axes.0.epochs", "must be a list, not 5"),
        ({"axes": {"batch_size": []}}, "", "at least one value"),
        ({"axes": {"seed": [1]}}, "", "give each path once, and seeds in `seeds`"),
        ({"seeds": 100_000}, "seeds", "1 to 20000 seeds"),
        ({"seeds": 20_000}, "axes", "at most 20000"),
        ({"exclude": [{"normalizer": ["batch", "layer"]}]}, "exclude", "leaves none"),
        (
            {"exclude": [{"augmentations": ["crop"]}]},
            "exclude.0.augmentations",
            "is no axis of the study, so that the rule matches no cell; the nearest axes are ",
        ),
        ({"base": {"dataset": {"name": "nope"}}}, "dataset.name", "nope"),
        ({"bases": {}}, "bases", ""),
        (
            {"pack": 4, "base": {"model": {"name": "timm/resnet18"}}},
            "pack",
            "model.name: 'timm/resnet18' cannot be packed, because it is not known",
        ),
    ],
)
def test_an_invalid_grid_is_422_with_field_and_rule(
    client: httpx.Client, change: dict[str, Any], field: str, rule: str
) -> None:
    for path in ("/v1/studies", "/v1/studies:preview"):
        if field == "dataset.name" and path.endswith("preview"):
            continue  # listed among the refused cells there
        answer = client.post(path, json={**GRID, **change})
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()["errors"][0]
        assert field in found["field"]
        assert rule in found["rule"]
    assert client.get("/v1/studies").json()["studies"] == []


def test_a_preview_does_not_get_the_answer_of_one_with_other_packs(
    client: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = Event(), Event()
    compute = previews.preview

    def held(*args: Any, **kwargs: Any) -> StudyPreview:
        begun.set()
        goes_on.wait(60)
        return compute(*args, **kwargs)

    monkeypatch.setattr(previews, "preview", held)
    with Client(url, OPERATORS_TOKEN) as patient, ThreadPoolExecutor(1) as pool:
        first = pool.submit(patient.studies.preview, {**GRID, "pack": "off"})
        assert begun.wait(60)
        other = client.post("/v1/studies:preview", json={**GRID, "pack": "auto"})
        assert other.json()["code"] == "too_busy"  # it waits for a turn of its own
        goes_on.set()
        assert first.result(60).packs == 0


def test_a_preview_lists_what_is_refused(client: httpx.Client) -> None:
    grid = {**GRID, "axes": {"normalizer": [{"kind": "group", "groups": 3}, "layer"]}}
    found = client.post("/v1/studies:preview", json=grid).json()
    assert found["refused"][0]["coordinates"] == {"normalizer": {"kind": "group", "groups": 3}}
    assert found["epochs"] == 4


OBJECTS = {"dataset": {"name": "objects32"}, "model": {"name": "detector"}, "epochs": 2}


def test_tables_of_a_task_without_accuracy_show_its_own_metric(
    client: httpx.Client, database: Database
) -> None:
    detectors = {**GRID, "base": OBJECTS, "axes": {"normalizer": ["batch", "group"]}}
    study = client.post("/v1/studies", json=detectors).json()["id"]
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        value = 0.4 if claim.spec.normalizer.kind == "group" else 0.3
        series = Series(steps=[1], values=[value + claim.spec.seed / 100], times=[time.time()])
        with database.begin() as connection:
            metric_reports.append(connection, claim, {"val/map": series})
        leases.finish(database, claim, Finished(step=2, summary={}))
    table = client.get(f"/v1/studies/{study}/results").json()
    assert table["metric"] == "val/map"
    assert [row["mean"] for row in table["rows"]] == pytest.approx([0.305, 0.405])
    asked = {"axis": "normalizer", "a": "group", "b": "batch"}
    compared = client.get(f"/v1/studies/{study}/compare", params=asked).json()
    assert compared["metric"] == "val/map"
    log_in(client, OPERATORS_TOKEN)
    assert 'name="metric" value="val/map"' in client.get(f"/studies/{study}").text


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"metric": "val/acuracy"}, "the nearest are val/accuracy"),
        ({"reduction": "first"}, "last, best"),
        ({"group_by": "epochs"}, "normalizer, batch_size"),
        ({"confidence": 1.5}, "less than 1"),
    ],
)
def test_a_question_without_answer_is_422(
    client: httpx.Client, database: Database, params: dict[str, Any], rule: str
) -> None:
    study = client.post("/v1/studies", json=GRID).json()["id"]
    work(database)
    answer = client.get(f"/v1/studies/{study}/results", params=params)
    assert answer.status_code == 422
    assert rule in answer.json()["errors"][0]["rule"]


def test_only_its_owner_may_change_a_study(client: httpx.Client, database: Database) -> None:
    study = client.post("/v1/studies", json=GRID).json()["id"]
    other = token_header(database, "bob", "read", "submit")
    assert client.post(f"/v1/studies/{study}/cancel", headers=other).status_code == 403
    assert client.get(f"/v1/studies/{study}", headers=other).status_code == 200


def test_an_unknown_study_is_404_and_a_wrong_move_409(client: httpx.Client) -> None:
    assert client.get("/v1/studies/nope").status_code == 404
    assert client.post("/v1/studies/nope/complete").status_code == 404
    study = client.post("/v1/studies", json=GRID).json()["id"]
    assert client.post(f"/v1/studies/{study}/resume").status_code == 409


def test_jobs_are_listed_by_a_filter(client: httpx.Client, database: Database) -> None:
    client.post("/v1/studies", json=GRID)
    work(database)
    where = "normalizer = layer and val/accuracy > 0.9"
    jobs = client.get("/v1/jobs", params={"filter": where}).json()["jobs"]
    assert {(j["normalizer"], j["batch_size"], j["seed"]) for j in jobs} == {("layer", 32, 1)}
    wrong = client.get("/v1/jobs", params={"filter": "batch_size >"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["rule"].startswith("position 13")


@pytest.fixture
def large(client: httpx.Client) -> str:
    """A study of more cells than one request queues and one page shows, when all are queued."""
    answer = client.post("/v1/studies", json={"name": "large", "base": BASE, "seeds": CELLS})
    study = answer.json()
    assert (answer.status_code, study["cells"]) == (202, CELLS)
    deadline = time.monotonic() + 240
    while study["counts"] != {"queued": CELLS}:
        assert set(study["counts"]) <= {"queued", "planned"}
        assert time.monotonic() < deadline
        time.sleep(0.05)
        study = client.get(f"/v1/studies/{study['id']}", params={"cells": 0}).json()
    return str(study["id"])


def test_a_large_study_is_shown_with_its_first_cells_and_pages_of_the_others(
    client: httpx.Client, large: str, url: str
) -> None:
    study = client.get(f"/v1/studies/{large}").json()
    path = f"/v1/studies/{large}/cells"
    rest = client.get(path, params={"cursor": study["next_cursor"]}).json()
    assert rest["next_cursor"] is None
    seeds = [cell["seed"] for cell in (*study["grid"], *rest["cells"])]
    assert seeds == list(range(CELLS))
    with Client(url, OPERATORS_TOKEN) as speaking:
        assert [cell.seed for cell in speaking.studies.get(large).grid] == seeds
        assert speaking.studies.summary(large).grid == []
    log_in(client)
    page = client.get(f"/studies/{large}")
    assert (page.status_code, f"of {CELLS} cells" in page.text) == (200, True)


def test_the_client_waits_until_a_large_study_is_cancelled_whole(
    client: httpx.Client, large: str, url: str
) -> None:
    answer = client.post(f"/v1/studies/{large}/cancel").json()
    assert answer["state"] in ("cancelling", "cancelled")
    with Client(url, OPERATORS_TOKEN) as waiting:
        ended = waiting.studies.wait(large, timeout_s=240)
    assert (ended.state, ended.counts) == ("cancelled", {"cancelled": CELLS})


def test_a_table_that_takes_long_goes_on_for_whoever_asks_again(
    settings: Settings, doorbell: SilentDoorbell, database: Database
) -> None:
    hasty = create_app(settings.model_copy(update={"read_timeout_s": 0.05}), doorbell)
    with serve(hasty) as url, Client(url, OPERATORS_TOKEN) as client:
        study = client.studies.create({"name": "s", "base": BASE, "seeds": 300})
        path = f"/v1/studies/{study.id}/results"
        headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
        first = httpx.get(url + path, headers=headers, timeout=60)
        assert first.status_code in (200, 202)
        assert first.status_code == 200 or first.json()["status"] == "under_way"
        assert sum(row.without["queued"] for row in client.studies.results(study.id).rows) == 300
