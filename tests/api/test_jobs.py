"""Jobs over HTTP: submit, look, list, cancel, retry, try out."""

from __future__ import annotations

import httpx

from tests.api.conftest import a_job


def test_a_job_is_accepted_with_its_place_and_where_to_look(client: httpx.Client) -> None:
    response = client.post("/v1/jobs", json=a_job(gradient_accumulation=4))
    assert response.status_code == 202, response.text
    body = response.json()
    assert response.headers["location"] == f"/v1/jobs/{body['id']}"
    assert (body["state"], body["device"], body["samples_per_update"]) == ("queued", "cpu", 32)
    assert client.get(response.headers["location"]).json()["id"] == body["id"]
