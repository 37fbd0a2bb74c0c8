"""Labels over HTTP: who may change them, of several jobs at once, and the forms of the pages."""

from __future__ import annotations

import httpx

from service.store.database import Database
from tests.api.conftest import a_job, log_in, token_header
from tests.tokens import create_token

STUDY = {"name": "s", "base": a_job(), "seeds": 2, "axes": {"normalizer": ["batch"]}}


def new_job(client: httpx.Client, headers: dict[str, str] | None = None, **fields: object) -> str:
    answer = client.post("/v1/jobs", json=a_job(**fields), headers=headers)
    return str(answer.raise_for_status().json()["id"])


def listed(client: httpx.Client, **params: str) -> list[str]:
    answer = client.get("/v1/jobs", params=params).raise_for_status()
    return [job["id"] for job in answer.json()["jobs"]]


def test_its_owner_labels_a_job_and_others_may_not(
    client: httpx.Client, database: Database
) -> None:
    ada, bob = (token_header(database, owner, "submit") for owner in ("ada", "bob"))
    job = new_job(client, ada)
    asked = {"name": "renamed", "note": "a note", "tags": ["paper"], "archived": True}
    changed = client.patch(f"/v1/jobs/{job}", json=asked, headers=ada).json()
    assert {name: changed[name] for name in ("name", "note", "tags")} == {
        "name": "renamed", "note": "a note", "tags": ["paper"],
    }  # fmt: skip
    assert client.patch(f"/v1/jobs/{job}", json=asked, headers=bob).status_code == 403
    assert (listed(client), listed(client, archived="only")) == ([], [job])
    assert listed(client, filter="archived = true and tag = paper") == [job]
    wrong = client.patch(f"/v1/jobs/{job}", json={"tags": ["a,b"]}, headers=ada)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "tags.0")
    assert client.patch(f"/v1/jobs/{job}", json={}, headers=ada).status_code == 422


def test_several_jobs_are_tagged_at_once_and_the_answer_says_which_are_not(
    client: httpx.Client, database: Database
) -> None:
    bob = token_header(database, "bob", "submit")
    mine, theirs = new_job(client, bob), new_job(client, seed=1)
    asked = {"jobs": [mine, theirs, "none"], "add_tags": ["paper"]}
    answer = client.post("/v1/jobs:label", json=asked, headers=bob).json()
    assert (answer["done"], sorted(answer["refused"])) == ([mine], sorted([theirs, "none"]))
    assert listed(client, filter="tag = paper") == [mine]


def test_a_study_is_labelled_and_archived_with_its_jobs(client: httpx.Client) -> None:
    study = client.post("/v1/studies", json=STUDY).raise_for_status().json()["id"]
    changed = client.patch(f"/v1/studies/{study}", json={"name": "t", "archived": True}).json()
    assert (changed["name"], changed["archived_at"] is not None) == ("t", True)
    assert (listed(client), len(listed(client, archived="show"))) == ([], 2)
    assert client.get("/v1/studies").json()["studies"] == []
    only = client.get("/v1/studies", params={"archived": "only"}).json()["studies"]
    assert [one["id"] for one in only] == [study]


def test_pages_show_labels_and_change_them_without_scripts(
    client: httpx.Client, database: Database, nobody: httpx.Client
) -> None:
    ada = token_header(database, "ada", "submit")
    job = new_job(client, ada)
    study = client.post("/v1/studies", json=STUDY, headers=ada).json()["id"]
    log_in(nobody, create_token(database, "ada", ["submit"]))
    for address in (f"/jobs/{job}", f"/studies/{study}"):
        given = {"name": "<b>new</b>", "tags": " paper,figure 3 ", "note": "one\r\ntwo"}
        assert nobody.post(f"{address}/labels", data=given).status_code == 303
        page = nobody.get(address).text
        assert "&lt;b&gt;new&lt;/b&gt;" in page
        assert ">figure 3</a>" in page
        assert 'value="paper, figure 3"' in page
        assert nobody.post(f"{address}/archive", data={"archived": "true"}).status_code == 303
        assert "In the archive since" in nobody.get(address).text
    assert job not in nobody.get("/jobs").text
    assert job in nobody.get("/jobs?archived=1").text
    assert study not in nobody.get("/studies").text
    assert study in nobody.get("/studies?archived=1").text
    assert nobody.post(f"/jobs/{job}/labels", data={"tags": '"'}).status_code == 422


def test_whoever_may_only_read_sees_no_form(
    client: httpx.Client, database: Database, nobody: httpx.Client
) -> None:
    job = new_job(client)
    log_in(nobody, create_token(database, "eve", ["read"]))
    page = nobody.get(f"/jobs/{job}").text
    assert f'action="/jobs/{job}/labels"' not in page
    assert nobody.post(f"/jobs/{job}/labels", data={"name": "x"}).status_code == 403
