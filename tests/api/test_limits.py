"""Limits over HTTP: admins set them, people see theirs with their use, and rates end in 429."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.rates import Rates
from normlab.errors import TooManyRequests
from service.store.database import Database
from tests.api.conftest import a_job, log_in, token_header
from tests.tokens import create_token

STUDY = {"name": "s", "base": a_job(), "seeds": 3, "axes": {"normalizer": ["batch", "layer"]}}


def allow(client: httpx.Client, **asked: Any) -> Any:
    return client.put("/v1/limits", json=asked).raise_for_status().json()["limits"]


def test_limits_hold_for_jobs_and_studies_and_name_their_numbers(
    client: httpx.Client, database: Database
) -> None:
    allow(client, subject="owner", name="ada", queued=2)
    ada = token_header(database, "ada", "submit")
    assert client.post("/v1/jobs", json=a_job(), headers=ada).status_code == 202
    study = client.post("/v1/studies", json=STUDY, headers=ada)
    assert (study.status_code, study.json()["code"]) == (429, "quota_exceeded")
    assert "'ada' has 1 jobs queued, and this adds 6; it may have at most 2" in study.text
    assert client.post("/v1/jobs", json=a_job(), headers=ada).status_code == 202
    refused = client.post("/v1/jobs", json=a_job(), headers=ada)
    assert "'ada' has 2 jobs queued, and this adds 1" in refused.json()["detail"]
    assert refused.headers["retry-after"]


def test_people_see_their_own_limits_and_those_of_their_projects(
    client: httpx.Client, database: Database
) -> None:
    allow(client, subject="project", name="default", running=5)
    ada = token_header(database, "ada", "submit")
    client.post("/v1/jobs", json=a_job(), headers=ada)
    own = client.get("/v1/limits", headers=ada).json()["limits"]
    assert {one["what"]: (one["most"], one["used"]) for one in own} == {
        "queued": (20_000, 1), "running": (None, 0), "devices": (None, 0),
        "device_hours_per_month": (None, 0), "storage_bytes": (None, 0), "priority": (None, None),
        "requests_per_minute": (None, None),
    }  # fmt: skip
    of_project = client.get("/v1/limits", params={"project": "default"}, headers=ada).json()
    assert [(one["most"], one["used"]) for one in of_project["limits"]][1] == (5, 0)
    other = client.get("/v1/limits", params={"owner": "bob"}, headers=ada)
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")
    unknown = client.get("/v1/limits", params={"project": "unknown"})  # as an admin
    assert unknown.status_code == 404
    nowhere = client.get("/v1/limits", params={"project": "secret"}, headers=ada)
    assert nowhere.status_code == 404
    assert client.get("/v1/limits", params={"owner": "bob"}).status_code == 200


def test_the_account_page_shows_limits_with_their_use(
    client: httpx.Client, database: Database, nobody: httpx.Client
) -> None:
    allow(client, subject="owner", name="ada", queued=7)
    allow(client, subject="project", name="default", devices=4)
    log_in(nobody, create_token(database, "ada", ["read"]))
    page = nobody.get("/account").text
    assert '<td class="number" data-label="At most">7</td>' in page
    assert "project default" in page


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"subject": "owner", "name": "ada"}, "limits"),
        ({"subject": "owner", "name": "ada", "queued": -1}, "queued"),
        ({"subject": "project", "name": "*", "requests_per_minute": 9}, "requests_per_minute"),
        ({"subject": "team", "name": "a", "queued": 1}, "subject"),
    ],
)
def test_a_wrong_limit_is_named_with_its_rule(
    client: httpx.Client, asked: dict[str, Any], field: str
) -> None:
    answer = client.put("/v1/limits", json=asked)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_token_with_too_many_requests_is_told_when_to_come_back(
    client: httpx.Client, database: Database
) -> None:
    allow(client, subject="owner", name="ada", requests_per_minute=1)
    ada, bob = (token_header(database, owner, "submit") for owner in ("ada", "bob"))
    answers = [client.post("/v1/jobs", json=a_job(), headers=ada) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert answers[-1].json()["code"] == "too_many_requests"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert "may make 1 requests per minute" in answers[-1].json()["detail"]
    assert client.get("/v1/jobs", headers=ada).status_code == 429
    assert client.get("/v1/jobs", headers=bob).status_code == 200
    again = token_header(database, "ada", "read")
    assert client.get("/v1/jobs", headers=again).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/jobs", None, 200),
        ("POST", "/v1/jobs", a_job(), 202),
        ("POST", "/v1/jobs", {"normalizer": "none such"}, 422),
        ("GET", "/v1/jobs/none", None, 404),
    ],
)
def test_every_answer_to_a_limited_token_says_what_is_left(
    client: httpx.Client,
    database: Database,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
) -> None:
    allow(client, subject="owner", name="ada", requests_per_minute=1)
    ada, bob = (token_header(database, owner, "submit") for owner in ("ada", "bob"))
    first, second = (client.request(method, path, json=body, headers=ada) for _ in range(2))
    assert (first.status_code, second.status_code) == (status, 429)
    for answer in (first, second):
        assert answer.headers["ratelimit-policy"] == '"requests";q=1;w=60'
        assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
    other = client.request(method, path, json=body, headers=bob)
    assert (other.status_code, "ratelimit" in other.headers) == (status, False)


def test_the_headers_of_a_rate_are_those_of_its_bucket() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    for _ in range(10):
        stand = rates.take("token", "ada", 60)
    now[0] += 2.5
    stand = rates.take("token", "ada", 60)
    assert stand.headers == {
        "RateLimit-Policy": '"requests";q=10;w=10', "RateLimit": '"requests";r=1;t=9',
    }  # fmt: skip
    assert rates.take("slow", "ada", 1).headers["RateLimit-Policy"] == '"requests";q=1;w=60'


def test_a_bucket_is_filled_again_with_time() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    for _ in range(10):
        rates.take("token", "ada", 60).check()
    with pytest.raises(TooManyRequests, match="wait 1 s"):
        rates.take("token", "ada", 60).check()
    now[0] += 1.5
    rates.take("token", "ada", 60).check()
    with pytest.raises(TooManyRequests):
        rates.take("token", "ada", 60).check()
