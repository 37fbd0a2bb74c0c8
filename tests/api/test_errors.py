"""Every error has a status, and every error response is a problem document."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from api import errors as problems
from api.limits import BodyLimit
from normlab import errors
from normlab.errors import FieldProblem, InvalidSpec, NormlabError
from normlab.specs.jobs import JobSpec
from tests.api.apart import run_apart
from tests.api.serving import client_of


def tree(root: type[NormlabError] = NormlabError) -> Iterator[type[NormlabError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(BodyLimit, limit=10_000)
    problems.install(app)

    @app.post("/jobs")
    def submit_job(spec: JobSpec) -> str:
        return spec.normalizer.kind

    @app.get("/raise/{code}")
    def raise_error(code: str) -> None:
        raise next(e for e in tree() if e.code == code)("the reason")

    @app.get("/fields")
    def fields() -> None:
        raise InvalidSpec("two things", [FieldProblem("a", "no"), FieldProblem("b.c", "neither")])

    @app.get("/bug")
    def bug(count: int = 1) -> None:
        raise RuntimeError("a secret of ours")

    return app


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with client_of(app) as client:
        yield client


@pytest.mark.parametrize("error", list(tree()), ids=lambda e: e.__name__)
def test_every_error_class_has_a_status_that_fits_its_meaning(error: type[NormlabError]) -> None:
    status = problems.status_of(error)
    assert status >= 500 if error in (NormlabError, errors.ServiceUnavailable) else status >= 400


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("not_found", 404),
        ("conflict", 409),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("quota_exceeded", 429),
        ("service_unavailable", 503),
        ("unsupported_model", 422),
        ("idempotency_key_reused", 422),
    ],
)
def test_our_own_error_is_a_problem_with_its_code(
    client: httpx.Client, code: str, status: int
) -> None:
    response = client.get(f"/raise/{code}")
    body = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (body["code"], body["detail"]) == (code, "the reason")
    assert body["type"] == f"urn:normlab:problem:{code}"
    assert body["instance"] == f"/raise/{code}"


def test_a_temporary_error_says_when_to_try_again(client: httpx.Client) -> None:
    assert client.get("/raise/quota_exceeded").headers["retry-after"] == "5"
    assert "retry-after" not in client.get("/raise/conflict").headers


def test_a_missing_token_is_answered_with_the_scheme(client: httpx.Client) -> None:
    assert client.get("/raise/unauthorized").headers["www-authenticate"] == "Bearer"


def test_problems_of_fields_are_listed(client: httpx.Client) -> None:
    assert client.get("/fields").json()["errors"] == [
        {"field": "a", "rule": "no"},
        {"field": "b.c", "rule": "neither"},
    ]


def test_an_unexpected_error_reveals_no_internals(client: httpx.Client) -> None:
    response = client.get("/bug")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text


def test_an_unknown_path_is_a_problem(client: httpx.Client) -> None:
    response = client.get("/nowhere")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "/nowhere" in response.json()["detail"]


def test_the_error_for_a_wrong_method_names_the_right_one(client: httpx.Client) -> None:
    response = client.get("/jobs")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "is not allowed at /jobs; use POST" in response.json()["detail"]


def test_the_error_for_a_wrong_query_parameter_names_it(client: httpx.Client) -> None:
    response = client.get("/bug", params={"count": "many"})
    (field,) = response.json()["errors"]
    assert (response.status_code, field["field"]) == (422, "count")
    assert field["rule"] == "must be a whole number, not 'many'"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"", "required"),
        (b'{"normalizer": "\xff"}', "UTF-8"),
        (b"[" * 9000, "JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"normalizer": "batch", "optimizer": {"name": "sgd", "lr": NaN}}', "finite"),
        (b'{"normalizer": "batch", "optimizer": {"name": "sgd", "lr": 1e999}}', "finite"),
        (b'{"normalizer": "batch", "name": "\\ud800"}', "Unicode"),
        (b'{"normalizer": "batch", "\\ud800": 1}', "unicode"),
    ],
)
def test_a_body_that_is_not_a_job_is_422_with_the_rule(
    client: httpx.Client, body: bytes, words: str
) -> None:
    response = client.post("/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422, response.text
    assert words in response.json()["detail"]
    assert response.json()["errors"]


def test_the_error_for_a_missing_content_type_names_it(client: httpx.Client) -> None:
    response = client.post("/jobs", content=b'{"normalizer": "batch"}')
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["detail"]


def test_a_body_at_the_limit_passes_and_one_byte_more_is_413(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    body = b'{"normalizer": "batch"}'.ljust(10_000)
    assert client.post("/jobs", content=body, headers=headers).status_code == 200
    response = client.post("/jobs", content=body + b" ", headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert "at most 10000" in response.json()["detail"]


def test_a_body_of_unknown_length_is_cut_off_while_it_arrives(app: FastAPI) -> None:
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1000

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", timeout=60
        ) as client:
            headers = {"content-type": "application/json"}
            return await client.post("/jobs", content=endless(), headers=headers)

    response = run_apart(post())
    assert response.status_code == 413
    assert sent == 11
