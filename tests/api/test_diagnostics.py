"""The diagnostics that a job can request, in the catalogue."""

from __future__ import annotations

import httpx

from tests.api.conftest import a_job


def test_diagnostics_say_where_they_report_and_what_they_cost(client: httpx.Client) -> None:
    found = {one["name"]: one for one in client.get("/v1/diagnostics").json()}
    assert found["power"]["metrics"].startswith("power/SITE")
    assert all(one["cost"] and one["source"] for one in found.values())


def test_norms_of_an_unknown_job_are_refused_on_submission(client: httpx.Client) -> None:
    body = a_job(optimizer={"norms_of": "01890000-0000-7000-8000-000000000000"})
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["field"] == "optimizer.norms_of"
    assert "there is no job" in problem["rule"]


def test_parts_are_listed_with_the_plugin_that_they_come_from(client: httpx.Client) -> None:
    found = {(one["part"], one["name"]): one for one in client.get("/v1/parts").json()}
    assert ("task", "segmentation") in found
    assert found["metric", "val/jaccard"]["code"] is None
