"""Deleting over HTTP: the trash, its summary, and the page's buttons."""

from __future__ import annotations

import httpx

from tests.api.conftest import OPERATORS_TOKEN, a_job, log_in


def an_ended_job(client: httpx.Client) -> str:
    job: str = client.post("/v1/jobs", json=a_job()).raise_for_status().json()["id"]
    client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    return job


def ids(client: httpx.Client, **params: str) -> list[str]:
    answer = client.get("/v1/jobs", params=params).raise_for_status()
    return [job["id"] for job in answer.json()["jobs"]]


def test_a_job_is_deleted_restored_and_purged(client: httpx.Client) -> None:
    job = an_ended_job(client)
    assert client.delete(f"/v1/jobs/{job}").json()["trashed_at"] is not None
    assert (ids(client), ids(client, trash="true")) == ([], [job])
    assert client.post(f"/v1/jobs/{job}/retry").status_code == 409
    assert client.post(f"/v1/jobs/{job}/restore").json()["trashed_at"] is None
    client.delete(f"/v1/jobs/{job}")
    emptied = client.post("/v1/trash:empty")
    assert (emptied.status_code, emptied.json()["jobs"]) == (202, 1)


def test_a_running_job_is_not_deleted_and_the_problem_says_what_to_do(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    refused = client.delete(f"/v1/jobs/{job}")
    assert refused.status_code == 409
    assert "cancel it before you delete it" in refused.json()["detail"]


def test_deletions_are_in_the_audit_trail(client: httpx.Client) -> None:
    job = an_ended_job(client)
    client.delete(f"/v1/jobs/{job}")
    (record,) = client.get("/v1/audit", params={"action": "job.delete"}).json()["records"]
    assert record["target"] == job


def test_the_page_of_a_deleted_job_offers_to_restore_it(
    nobody: httpx.Client, client: httpx.Client
) -> None:
    job = an_ended_job(client)
    log_in(nobody, OPERATORS_TOKEN)
    assert f'data-delete="/v1/jobs/{job}"' in nobody.get(f"/jobs/{job}").text
    client.delete(f"/v1/jobs/{job}")
    page = nobody.get(f"/jobs/{job}").text
    assert f'data-post="/v1/jobs/{job}/restore"' in page
    assert "in the trash since" in page
    assert job in nobody.get("/jobs", params={"trash": "1"}).text
    assert job not in nobody.get("/jobs").text
