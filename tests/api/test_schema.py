"""The interface behaves as described for arbitrary requests, in any order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from normlab.events import Finished, Metrics
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.team import uploaded
from tests.api.test_access import MAY
from tests.service.work import claim, series

_FOR_S = float(os.environ.get("NORMLAB_TEST_SCHEMA_S", "0"))
"""How long cases are made; every route is asked once at least."""
_SEED = int(os.environ.get("NORMLAB_TEST_SEED", "13"))
_STREAMS = r"/events$"  # do not end by themselves
_HEADERS = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_few = settings(
    max_examples=6,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_MADE_BY = {
    "/v1/jobs": "job",
    "/v1/studies": "study",
    "/v1/tokens": "token",
    "/v1/views": "view",
    "/v1/projects": "project",
}
_NAMED_BY = {"project": "name"}  # others by their id
_GRID = {"name": "s", "base": a_job(), "axes": {"batch_size": [8, 4]}, "seeds": 2}


class Known:
    """Existing things: most cases use them, and later cases also know what earlier ones created."""

    def __init__(self, client: httpx.Client, database: Database) -> None:
        self.ids: dict[str, list[str]] = {}
        self._chance = random.Random(_SEED)
        self.ids["kind"] = ["batch", "group"]
        self.ids["digest"] = [uploaded(database, "default")]
        self._make(client, "job", "jobs", a_job(priority=1))
        done = claim(database)
        reports.keep_all(database, done, [Metrics(series={"val/accuracy": series(1, 2)})])
        leases.finish(database, done, Finished(step=2, summary={}))
        for kind, path, body in (
            ("job", "jobs", a_job()),
            ("study", "studies", _GRID),
            ("study", "studies", {**_GRID, "name": "t", "decide": {"by": 0.1}}),
            ("token", "tokens", {"owner": "ada", "scopes": ["read"]}),
            ("view", "views", {"name": "v", "content": {"columns": ["name"]}}),
            ("project", "projects", {"name": "vision"}),
        ):
            self._make(client, kind, path, body)

    def _make(self, client: httpx.Client, kind: str, path: str, body: Any) -> None:
        made = client.post(f"/v1/{path}", json=body)
        assert made.status_code < 300, made.text
        self.ids.setdefault(kind, []).append(made.json()[_NAMED_BY.get(kind, "id")])

    def aim(self, case: Case) -> None:
        """Let *case* use something that exists, nearly always."""
        for name, ids in self.ids.items():
            if name in case.path_parameters and self._chance.random() < 0.9:
                case.path_parameters[name] = self._chance.choice(ids)

    def learn(self, path: str, answer: schemathesis.Response) -> None:
        """Remember what a POST to *path* has created."""
        kind = _MADE_BY.get(path)
        if kind and answer.status_code < 300:
            found = answer.json().get(_NAMED_BY.get(kind, "id"))
            if isinstance(found, str):
                self.ids[kind].append(found)


def _rounds() -> Iterator[int]:
    until = time.monotonic() + _FOR_S
    number = _SEED
    while number == _SEED or time.monotonic() < until:
        yield number
        number += 1


@pytest.mark.timeout(900 + 2 * _FOR_S)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_interface_answers_arbitrary_requests_as_described(
    url: str, client: httpx.Client, database: Database, mode: GenerationMode
) -> None:
    known = Known(client, database)
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", timeout=60)
    described = schema.exclude(path_regex=_STREAMS).get_all_operations()
    operations = [result.ok() for result in described]
    asked = {(one.method.upper(), one.path) for one in operations}
    assert {(method, path) for method, path in MAY if path.startswith("/v1/")} - asked == {
        ("GET", "/v1/events"), ("GET", "/v1/jobs/{job}/events"),
    }  # fmt: skip
    for number in _rounds():
        for operation in operations:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue

            @_few
            @seed(number)
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers(case: Case) -> None:
                known.aim(case)
                case.query.pop("follow", None)  # waits, as requested
                answer = case.call_and_validate(headers=_HEADERS, checks=_CHECKS)
                known.learn(case.operation.path, answer)

            answers()
