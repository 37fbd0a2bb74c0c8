"""Projects: on every route of the API, things in projects of others do not seem to exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from service.store.database import Database
from service.store.projects import sight_of
from tests.api.conftest import a_job
from tests.api.team import BLUE, RED, SHA256, STUDY, Team, a_team
from tests.api.test_access import BODIES, MAY, NO_JOB

NOWHERE = {"job": NO_JOB, "study": NO_JOB, "view": NO_JOB, "project": "nowhere", "digest": "0" * 64}
NAMING = ("{job}", "{study}", "{project}", "{digest}", "{view}")
THINGS = [(route, who) for route, who in MAY.items() if any(n in route[1] for n in NAMING)]
OTHERS = [route for route in MAY if not any(n in route[1] for n in NAMING)]


@pytest.fixture
def team(database: Database, client: httpx.Client) -> Team:
    return a_team(database, client)


def ask(
    nobody: httpx.Client, route: tuple[str, str], places: dict[str, str], headers: Any
) -> tuple[int, str]:
    """Send a request; from a stream, read the first part."""
    method, path = route
    given: dict[str, Any] = BODIES.get(route, {})
    with nobody.stream(method, path.format(**places), **given, headers=headers) as answer:
        if "event-stream" in answer.headers.get("content-type", ""):
            return answer.status_code, next(answer.iter_text(), "")
        return answer.status_code, answer.read().decode(errors="replace")


def test_whoever_is_not_in_a_project_gets_the_answers_of_one_that_does_not_exist(
    nobody: httpx.Client, team: Team
) -> None:
    wrong = []
    nowhere = {**team.places, **NOWHERE}
    for owner in BLUE:
        for route, _ in THINGS:
            status, said = ask(nobody, route, team.places, team.headers[owner])
            unknown = ask(nobody, route, nowhere, team.headers[owner])
            for kind, name in NOWHERE.items():
                said = said.replace(team.places[kind], name)
            if status != 404 or (404, comparable(said)) != (unknown[0], comparable(unknown[1])):
                wrong.append(f"{route} is {status} for {owner}: {said[:200]}")
    assert wrong == []


def comparable(said: str) -> str:
    """Leave out what differs by itself: a problem's place, and the fingerprints of cells."""
    return re.sub(r'"key":"[0-9a-f]{64}"', "", said.split('"instance"')[0])


def test_members_may_do_what_their_role_allows(nobody: httpx.Client, team: Team) -> None:
    wrong = []
    for owner, role in RED.items():
        for route, who in THINGS:
            status, said = ask(nobody, route, team.places, team.headers[owner])
            refused = status in (401, 403) or (status == 404 and "there is no" in said)
            if refused == allowed(route, who, role):
                wrong.append(f"{route} is {status} for {owner}: {said[:200]}")
    assert wrong == []


def allowed(route: tuple[str, str], who: str, role: str) -> bool:
    """Return whether the role is enough; nothing of rob's needs a higher role than its owner's."""
    if "{project}" in route[1] and who == "admins":
        return role == "admin"
    if who == "same name":  # rob's own
        return role == "submit"
    return who in ("known", "submitters") or (who == "owner" and role != "read")


def test_nothing_of_another_project_is_in_any_answer(nobody: httpx.Client, team: Team) -> None:
    leaks, seen = [], set()
    for route in OTHERS:
        if MAY[route] not in ("known", "submitters"):
            continue
        for owner in ("bea", "rob"):
            _, said = ask(nobody, route, team.places, team.headers[owner])
            found = [secret for secret in team.secrets if secret in said]
            if owner == "rob":
                seen |= {route[1]} if found else set()
            elif found:
                leaks.append(f"{route} tells bea {found}")
    assert leaks == []
    pages = {"/jobs", "/jobs/rows", "/studies", "/projects"}
    tables = {"/v1/jobs:table", "/v1/jobs:export", "/v1/jobs:groups", "/v1/usage"}
    assert {*(f"/v1/{of}" for of in ("jobs", "studies", "plugins", "projects", "views"))} <= seen
    assert pages | tables <= seen


def test_nothing_of_another_project_can_be_named_in_a_specification(
    client: httpx.Client, team: Team
) -> None:
    wrong = []
    for owner, sees in (("bea", False), ("rob", True)):
        for path, body, unknown in naming(team):
            answer, as_if = (
                client.post(path, json=asked, headers=team.headers[owner]).text
                for asked in (body, unknown)
            )
            for known, other in ((team.ended, NOWHERE["job"]), (team.digest, NOWHERE["digest"]),
                                 (SHA256, "6" * 64)):  # fmt: skip
                answer = answer.replace(known, other)
            if (comparable(answer) != comparable(as_if)) != sees:
                wrong.append(f"{owner}, {path}, {body}: {answer[:300]}")
    assert wrong == []


def naming(team: Team) -> Iterator[tuple[str, Any, Any]]:
    """Yield bodies that name something of rob's, and the same with something unknown."""
    job, sha, digest = team.ended, SHA256, team.digest
    none, nothing, nowhere = NOWHERE["job"], "6" * 64, NOWHERE["digest"]
    pairs = [
        ({"init_from": job}, {"init_from": none}),
        ({"init_from": {"sha256": sha}}, {"init_from": {"sha256": nothing}}),
        ({"optimizer": {"norms_of": job}}, {"optimizer": {"norms_of": none}}),
        ({"continues": {"job": job, "step": 1, "sha256": sha}},
         {"continues": {"job": none, "step": 1, "sha256": sha}}),
        ({"code": [digest]}, {"code": [nowhere]}),
    ]  # fmt: skip
    for known, unknown in pairs:
        for path in ("/v1/jobs", "/v1/jobs:validate"):
            yield path, a_job(**known), a_job(**unknown)
        for path in ("/v1/studies", "/v1/studies:preview"):
            yield path, {**STUDY, "base": a_job(**known)}, {**STUDY, "base": a_job(**unknown)}
    for what in ("table", "groups", "export", "compare", "cancel", "delete"):
        columns = {"columns": ["name", "owner"]} if what in ("table", "groups", "export") else {}
        yield f"/v1/jobs:{what}", *({**columns, "jobs": [named]} for named in (job, none))
    for path in ("/v1/studies", "/v1/studies:preview"):
        grids = [{**STUDY, "axes": {"init_from": [named]}} for named in (job, none)]
        yield path, *grids


def test_finished_cells_are_reused_within_a_project_only(
    client: httpx.Client, database: Database, team: Team
) -> None:
    both = {"owner": "rob", "role": "submit"}
    client.put("/v1/projects/blue/members", json=both).raise_for_status()
    study = {**STUDY, "base": a_job(), "seeds": [1], "axes": {"normalizer": ["batch"]}}
    for project, reused in (("red", 1), ("blue", 0)):
        asked = {"params": {"project": project}, "json": study, "headers": team.headers["rob"]}
        preview = client.post("/v1/studies:preview", **asked).raise_for_status().json()
        made = client.post("/v1/studies", **asked).raise_for_status().json()
        assert (preview["reusable"], made["reused"], made["project"]) == (reused, reused, project)


def test_a_key_means_another_job_in_another_project(client: httpx.Client, team: Team) -> None:
    client.put("/v1/projects/blue/members", json={"owner": "rob"}).raise_for_status()
    headers = {**team.headers["rob"], "Idempotency-Key": "k"}
    made = [
        client.post("/v1/jobs", json=a_job(), params={"project": p}, headers=headers).json()["id"]
        for p in ("red", "blue", "red")
    ]
    assert made[0] == made[2] != made[1]


def test_a_stream_ends_when_its_reader_leaves_the_project(client: httpx.Client, team: Team) -> None:
    path = f"/v1/jobs/{team.job}/events"
    with connect_sse(client, "GET", path, headers=team.headers["rhea"]) as source:
        events = source.iter_sse()
        assert next(events).data
        gone = {"owner": "rhea"}
        client.delete("/v1/projects/red/members", params=gone).raise_for_status()
        list(events)
    assert client.get(f"/v1/jobs/{team.job}", headers=team.headers["rhea"]).status_code == 404


def test_without_a_project_it_is_the_default_one_or_the_only_one(
    client: httpx.Client, team: Team
) -> None:
    def project_of(owner: str, **params: str) -> Any:
        answer = client.post(
            "/v1/jobs", json=a_job(), params=params, headers=team.headers[owner]
        ).json()
        if "id" not in answer:
            return answer["detail"]
        return client.get(f"/v1/jobs/{answer['id']}").raise_for_status().json()["project"]

    assert project_of("bea") == "blue"
    client.put("/v1/projects/red/members", json={"owner": "bea"}).raise_for_status()
    assert "may submit to 2 projects; name one of blue, red" in project_of("bea")
    assert project_of("bea", project="red") == "red"
    client.put("/v1/projects/default/members", json={"owner": "*"}).raise_for_status()
    assert project_of("bea") == "default"
    assert "may only read in project 'red'" in project_of("rhea", project="red")
    assert "there is no project 'blue'" in project_of("rhea", project="blue")


def test_what_goes_on_by_itself_sees_what_its_owner_sees_now(
    client: httpx.Client, database: Database, team: Team
) -> None:
    with database.begin() as connection:
        assert sight_of(connection, "bea", "blue").projects == {"blue"}
        assert sight_of(connection, "admin", "blue").sees("red")
    client.put("/v1/projects/red/members", json={"owner": "bea"}).raise_for_status()
    with database.begin() as connection:
        assert sight_of(connection, "bea", "blue").projects == {"blue", "red"}
