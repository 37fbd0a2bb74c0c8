"""The keep-rules of a project over HTTP and on its page, and who may remove expired files."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from normlab.events import ArtifactWritten, Finished
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job, log_in, token_header

KEEP = "/v1/projects/default/keep"
EXPIRED = "/v1/projects/default/expired"


@pytest.fixture
def old_job(client: httpx.Client, database: Database) -> str:
    """A job that ended ten days ago, with weights."""
    job: str = client.post("/v1/jobs", json=a_job()).raise_for_status().json()["id"]
    mine = leases.claim(database, "cpu", "w", 30)
    assert mine is not None
    weights = {"name": "weights.safetensors", "path": f"/x/{job}/w", "sha256": "5" * 64, "bytes": 9}
    assert reports.keep_all(database, mine, [ArtifactWritten.model_validate(weights)])
    assert leases.finish(database, mine, Finished(step=1, summary={}))
    with database.begin() as connection:
        connection.execute(text("update job set finished_at = finished_at - interval '10 days'"))
    return job


def put(client: httpx.Client, **rules: Any) -> httpx.Response:
    return client.put(KEEP, json=rules)


def test_an_admin_sets_rules_and_members_read_them(
    client: httpx.Client, database: Database
) -> None:
    assert put(client, weights_days=30, best_by="val/loss", goal="minimize").status_code == 200
    ada = token_header(database, "ada", "submit")
    assert client.get(KEEP, headers=ada).json() == {
        "project": "default", "checkpoints_days": None, "checkpoints_then": "last_and_best",
        "best_by": "val/loss", "goal": "minimize", "weights_days": 30, "logs_days": None,
    }  # fmt: skip
    refused = client.put(KEEP, json={"logs_days": 0}, headers=ada)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    (record,) = client.get("/v1/audit", params={"action": "project.keep"}).json()["records"]
    assert record["details"] == {"best_by": "val/loss", "goal": "minimize", "weights_days": 30}


@pytest.mark.parametrize("rules", [
    {}, {"logs_days": -1}, {"logs_days": 1e9}, {"checkpoints_then": "some"}, {"days": 3},
    {"best_by": ""},
])  # fmt: skip
def test_rules_that_are_none_are_refused_with_their_field(
    client: httpx.Client, rules: dict[str, Any]
) -> None:
    refused = put(client, **rules)
    assert refused.status_code == 422
    field = next(iter(rules), "rules")
    assert [one["field"] for one in refused.json()["errors"]] == [field]


def test_what_is_listed_goes_when_an_admin_says_so_and_the_job_tells_it(
    client: httpx.Client, database: Database, old_job: str
) -> None:
    put(client, weights_days=7)
    ada = token_header(database, "ada", "submit")
    page = client.get(EXPIRED, headers=ada).json()
    gone = {"job": old_job, "kind": "weights", "files": ["weights.safetensors"], "bytes": 9}
    assert page == {"project": "default", "expired": [gone], "next_cursor": None}
    assert client.post(f"{EXPIRED}:remove", headers=ada).status_code == 403
    assert client.post(f"{EXPIRED}:remove").json() == page
    assert client.get(EXPIRED).json()["expired"] == []
    answer = client.get(f"/v1/jobs/{old_job}/weights")
    assert "by the keep-rules of its project" in answer.json()["detail"]
    (record,) = client.get("/v1/audit", params={"action": "job.expire"}).json()["records"]
    assert (record["target"], record["details"]) == (old_job, {"kinds": ["weights"]})


def test_a_cursor_of_nobody_is_refused(client: httpx.Client) -> None:
    assert client.get(EXPIRED, params={"cursor": "x"}).status_code == 422


def test_the_page_of_projects_shows_the_rules_and_changes_them(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    log_in(nobody, OPERATORS_TOKEN)
    assert "keep their checkpoints for ever" in nobody.get("/projects").text
    form = {"checkpoints_days": "14", "checkpoints_then": "last", "weights_days": "",
            "logs_days": "1"}  # fmt: skip
    assert nobody.post("/projects/default/keep", data=form).status_code in (200, 303)
    page = " ".join(nobody.get("/projects").text.split())
    assert "checkpoints for 14 days (and the last for ever)" in page
    assert "final weights for ever, and their log for 1 day." in page
    wrong = nobody.post("/projects/default/keep", data={**form, "logs_days": "-3"})
    assert wrong.status_code == 422
    assert "logs_days" in wrong.text
