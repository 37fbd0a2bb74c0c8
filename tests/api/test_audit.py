"""The audit trail for admins: every change once, with its caller, and without secrets."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from service.store import audit, tokens
from service.store.audit import Actor
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job, log_in
from tests.api.test_access import STUDY
from tests.tokens import create_token


def actions(client: httpx.Client, **filters: object) -> list[str]:
    answer = client.get("/v1/audit", params=filters).raise_for_status()
    records = answer.json()["records"]
    return [record["action"] for record in reversed(records)]


def test_each_action_on_a_job_is_recorded_with_the_caller(
    client: httpx.Client, nobody: httpx.Client, database: Database
) -> None:
    token = create_token(database, "ada", ["submit"])
    headers = {"Authorization": f"Bearer {token}"}
    job = nobody.post("/v1/jobs", json=a_job(), headers=headers).json()["id"]
    client.post(f"/v1/jobs/{job}/cancel")
    nobody.post(f"/v1/jobs/{job}/retry", headers=headers)
    found = client.get("/v1/audit").json()["records"]
    told = [(r["owner"], r["action"], r["target"]) for r in reversed(found)]
    assert told == [("ada", "job.submit", job), ("admin", "job.cancel", job),
                    ("ada", "job.retry", job)]  # fmt: skip
    known = tokens.find(database, token)
    assert known is not None
    assert found[-1]["token"] == str(known.id)


def test_every_change_of_a_study_is_recorded(client: httpx.Client) -> None:
    study = client.post("/v1/studies", json=STUDY).json()["id"]
    client.post("/v1/studies", json=STUDY)  # the same study: nothing was changed
    for verb in ("pause", "resume", "cancel", "complete"):
        client.post(f"/v1/studies/{study}/{verb}")
    client.post(f"/v1/studies/{study}/priority", json={"priority": 3})
    client.put(f"/v1/studies/{study}", json={**STUDY, "seeds": 2})
    verbs = ["create", "pause", "resume", "cancel", "complete", "priority", "extend"]
    assert actions(client) == [f"study.{verb}" for verb in verbs]


def test_tokens_and_logins_are_recorded_without_secrets(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    made = client.post("/v1/tokens", json={"owner": "ada"}).json()
    new = client.post(f"/v1/tokens/{made['id']}/rotate", json={}).json()
    log_in(nobody, new["secret"])
    session = nobody.cookies["normlab_session"]
    nobody.post("/logout")
    client.delete(f"/v1/tokens/{new['id']}")
    said = client.get("/v1/audit").text
    assert actions(client) == ["token.create", "token.rotate", "session.login", "session.logout",
                               "token.revoke"]  # fmt: skip
    for secret in (made["secret"], new["secret"], session, OPERATORS_TOKEN):
        assert secret not in said


def test_requests_without_effect_are_not_recorded(client: httpx.Client) -> None:
    for _ in range(2):
        client.post("/v1/jobs", json=a_job(), headers={"Idempotency-Key": "one"})
    job = client.get("/v1/jobs").json()["jobs"][0]["id"]
    assert client.post(f"/v1/jobs/{job}/retry").status_code == 409
    client.post("/v1/jobs", json={"normalizer": "nothing"})
    assert actions(client) == ["job.submit"]


def test_a_burst_of_wrong_tokens_is_recorded_once(
    client: httpx.Client, nobody: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.strangers._LONGEST_S", 0.01)
    for i in range(10):
        nobody.get("/v1/jobs", headers={"Authorization": f"Bearer wrong-{i}"})
    (record,) = client.get("/v1/audit").json()["records"]
    assert (record["owner"], record["action"]) == (None, "token.guessed")
    assert record["details"] == {"client": "127.0.0.1", "in_a_row": 8}


def test_pages_and_filters_find_each_record_once(client: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        for i in range(7):
            audit.write(connection, Actor("ada" if i % 2 else "bob"), "job.cancel", i)
    found, cursor = [], None
    while True:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = client.get("/v1/audit", params=params).json()
        found += [record["target"] for record in page["records"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == list("6543210")
    assert len(actions(client, owner="ada")) == 3
    assert len(actions(client, action="job.cancel")) == 7
    assert actions(client, since="2100-01-01T00:00:00Z") == []
    assert len(actions(client, until="2100-01-01T00:00:00Z")) == 7
    assert client.get("/v1/audit", params={"since": "yesterday"}).status_code == 422


def test_old_records_are_deleted(client: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        for i in range(3):
            audit.write(connection, Actor("ada"), "job.cancel", i)
        connection.execute(text("update audit set at = at - interval '9 days' where target < '2'"))
    assert audit.trim(database, days=10) == 0
    assert audit.trim(database, days=8) == 2
    assert actions(client) == ["job.cancel"]


def test_admins_have_a_page_with_the_records(client: httpx.Client) -> None:
    client.post("/v1/tokens", json={"owner": "<b>ada</b>", "note": "<i>x</i>"})
    page = client.get("/audit")
    assert page.status_code == 200
    assert "token.create" in page.text
    assert "<b>ada" not in page.text


def test_the_page_shows_what_was_taken_away(client: httpx.Client, nobody: httpx.Client) -> None:
    asked = {"subject": "owner", "name": "ada", "queued": None}
    client.put("/v1/limits", json=asked).raise_for_status()
    log_in(nobody, OPERATORS_TOKEN)
    page = nobody.get("/audit")
    assert page.status_code == 200
    assert "queued none" in page.text
