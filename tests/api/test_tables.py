"""Tables of jobs over HTTP: pages, groups, exports, and changes of several jobs."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import httpx
import pytest

from api.routes import tables
from normlab.records.tables import FieldList, GroupTable, TableRecord
from normlab.specs.jobs import JobSpec
from service.store.database import Database
from tests.api.conftest import a_job, ask, token_header
from tests.api.team import a_team, add
from tests.service.jobs.test_table import report
from tests.service.work import submit


def test_a_table_is_one_request_for_chosen_columns(
    client: httpx.Client, database: Database
) -> None:
    submit(database, name="one", seed=4)
    report(database, {"val/accuracy": [0.25, 0.5]})
    asked = {"columns": ["name", "seed", "val/accuracy:best", "created_at"], "count": True}
    response = ask(client, "POST", "/v1/jobs:table", json=asked)
    found = TableRecord.model_validate_json(response.content)
    assert (found.total, found.next_cursor) == (1, None)
    assert found.rows[0].values[:3] == ["one", 4, 0.5]
    assert (found.rows[0].state, found.rows[0].owner) == ("succeeded", "ada")
    grouped = ask(client, "POST", "/v1/jobs:groups", json={"columns": ["val/accuracy:mean"]})
    (row,) = GroupTable.model_validate_json(grouped.content).rows
    assert row.values[0]["mean"] == 0.375


def test_tables_and_their_files_tell_nan_from_infinity_and_from_nothing(
    client: httpx.Client, database: Database
) -> None:
    for seed, value in enumerate([math.nan, -math.inf, 0.5]):
        submit(database, seed=seed)
        report(database, {"val/accuracy": [value]})
    submit(database, seed=3)
    asked = {"columns": ["seed", "val/accuracy"], "sort": "seed"}
    rows = ask(client, "POST", "/v1/jobs:table", json=asked).json()["rows"]
    assert [row["values"][1] for row in rows] == [None, None, 0.5, None]
    places = [row["not_finite"].get("/values/1") for row in rows]
    assert places == ["NaN", "-Infinity", None, None]
    text = ask(client, "POST", "/v1/jobs:export", json=asked).text
    assert [row[2] for row in csv.reader(io.StringIO(text))][1:] == ["NaN", "-Infinity", "0.5", ""]
    listed = ask(client, "POST", "/v1/jobs:export", json={**asked, "form": "json"}).json()
    assert [row.get("not_finite") for row in listed] == [
        {"/val~1accuracy": "NaN"}, {"/val~1accuracy": "-Infinity"}, None, None,
    ]  # fmt: skip
    for turned in ("", "-"):
        sort = {**asked, "sort": f"{turned}val/accuracy"}
        rows = ask(client, "POST", "/v1/jobs:table", json=sort).json()["rows"]
        assert rows[0]["values"][1] == 0.5  # NaN and infinity come last, like missing values


def test_an_unknown_column_or_order_is_a_problem_of_its_field(client: httpx.Client) -> None:
    for asked, field in (
        ({"columns": ["name", "sed"]}, "columns.1"),
        ({"columns": ["name"], "sort": "-optimizer.l"}, "sort"),
        ({"columns": ["name"], "filter": "seed >"}, "filter"),
    ):
        response = ask(client, "POST", "/v1/jobs:table", json=asked)
        assert response.status_code == 422
        assert [e["field"] for e in response.json()["errors"]] == [field]


def test_an_export_has_all_rows_and_no_formulas(client: httpx.Client, database: Database) -> None:
    jobs = [submit(database, seed=i, name="=1+1" if i else None).id for i in range(3)]
    asked = {"columns": ["name", "seed", "normalizer.proxy"], "sort": "seed"}
    response = ask(client, "POST", "/v1/jobs:export", json=asked)
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(response.text)))
    assert rows[0] == ["id", "name", "seed", "normalizer.proxy"]
    assert rows[2] == [jobs[1], "'=1+1", "1", "False"]
    listed = ask(
        client, "POST", "/v1/jobs:export", json={**asked, "form": "json", "jobs": jobs[:1]}
    )
    assert listed.json() == [{"id": jobs[0], "name": None, "seed": 0, "normalizer.proxy": False}]


def test_an_export_of_too_many_jobs_is_refused_and_never_cut(
    client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_EXPORTED", 2)
    monkeypatch.setattr(tables, "_PAGE", 1)
    for seed in range(3):
        submit(database, seed=seed)
    response = ask(client, "POST", "/v1/jobs:export", json={"columns": ["seed"]})
    assert response.status_code == 422
    assert "more than 2 jobs match" in response.json()["errors"][0]["rule"]
    whole = ask(client, "POST", "/v1/jobs:export", json={"columns": ["seed"], "filter": "seed < 2"})
    assert len(whole.text.splitlines()) == 3


def test_several_jobs_are_cancelled_and_deleted_and_each_refusal_is_told(
    client: httpx.Client, database: Database
) -> None:
    mine = [submit(database, owner="ada", seed=i).id for i in range(2)]
    other = submit(database, owner="bob").id
    headers = token_header(database, "ada", "submit")
    asked = {"jobs": [*mine, other, "nothing"]}
    deleted = client.post("/v1/jobs:delete", json=asked, headers=headers).json()
    assert deleted["done"] == []
    assert "cancel it before" in deleted["refused"][mine[0]]
    cancelled = client.post("/v1/jobs:cancel", json=asked, headers=headers).json()
    assert cancelled["done"] == mine
    assert "belongs to 'bob'" in cancelled["refused"][other]
    assert "there is no job" in cancelled["refused"]["nothing"]
    deleted = client.post("/v1/jobs:delete", json=asked, headers=headers).json()
    assert deleted["done"] == mine
    reading = token_header(database, "ada", "read")
    assert client.post("/v1/jobs:cancel", json=asked, headers=reading).status_code == 403


def test_names_for_completion_are_columns_fields_and_metrics(
    client: httpx.Client, database: Database
) -> None:
    submit(database)
    report(database, {"val/accuracy": [0.5]})
    fields = FieldList.model_validate_json(client.get("/v1/jobs:fields").content).fields
    found = {field.name: field for field in fields}
    assert (found["val/accuracy"].kind, found["optimizer.lr"].kind) == ("metric", "field")
    assert "cuda" in found["device"].choices
    assert "batch" in found["normalizer"].choices


def test_names_are_told_again_without_making_the_schema_of_jobs_anew(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.get("/v1/jobs:fields").json()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the schema of jobs is made again")

    monkeypatch.setattr(JobSpec, "model_json_schema", refuse)
    assert client.get("/v1/jobs:fields").json() == first


def test_two_thousand_runs_are_not_compared(client: httpx.Client) -> None:
    asked = {"jobs": [str(i) for i in range(2000)]}
    response = ask(client, "POST", "/v1/jobs:compare", json=asked)
    assert response.status_code == 422
    assert "at most 100 can be compared at once" in response.json()["detail"]


def test_a_run_out_of_sight_is_gone_from_a_comparison_as_if_it_did_not_exist(
    client: httpx.Client, database: Database
) -> None:
    team = a_team(database, client)
    job = a_job(name="navy job")
    own = add(client, team.headers["bea"], "/v1/jobs", job)
    asked = {"jobs": [own, team.job], "leave_out_gone": True}
    headers = team.headers["bea"]
    found = ask(client, "POST", "/v1/jobs:compare", json=asked, headers=headers).json()
    assert (found["gone"], [one["id"] for one in found["runs"]]) == ([team.job], [own])
    strictly = {"jobs": [own, team.job]}
    refused = ask(client, "POST", "/v1/jobs:compare", json=strictly, headers=headers)
    assert refused.status_code == 404


def test_a_view_is_saved_opened_by_others_and_changed_by_its_owner_alone(
    client: httpx.Client, database: Database
) -> None:
    ada, bob = (token_header(database, owner, "read") for owner in ("ada", "bob"))
    view = {"name": "rates", "content": {"columns": ["name", "optimizer.lr"], "grouped": True}}
    made = client.post("/v1/views", json=view, headers=ada)
    assert made.status_code == 201
    path = f"/v1/views/{made.json()['id']}"
    assert client.post("/v1/views", json=view, headers=ada).status_code == 409
    assert client.post("/v1/views", json=view, headers=bob).status_code == 201
    assert client.get(path, headers=bob).json()["content"]["columns"] == ["name", "optimizer.lr"]
    assert client.put(path, json=view, headers=bob).status_code == 403
    assert client.delete(path, headers=bob).status_code == 403
    renamed = {**view, "name": "learning rates"}
    assert client.put(path, json=renamed, headers=ada).json()["name"] == "learning rates"
    listed = client.get("/v1/views", headers=ada).json()["views"]
    assert [v["name"] for v in listed] == ["learning rates"]
    assert client.delete(path, headers=ada).status_code == 204
    gone = client.get(path, headers=ada)
    assert (gone.status_code, "may have been deleted" in gone.json()["detail"]) == (404, True)


def test_the_documented_export_is_answered(client: httpx.Client, database: Database) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "many-runs.md").read_text()
    (body,) = re.findall(r"-d '(.*)'", page)
    submit(database, seed=5, name="of the docs")
    report(database, {"val/accuracy": [0.5]})
    response = ask(client, "POST", "/v1/jobs:export", json=json.loads(body))
    assert "of the docs,5,0.1,0.5" in response.text


def test_a_job_can_be_submitted_and_read_beside_the_routes_of_tables(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    assert client.get(f"/v1/jobs/{job}").json()["id"] == job
