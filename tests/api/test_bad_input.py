"""Invalid input is refused with the field, the rule and the accepted values."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from api.bodies import JsonRoute
from api.routes import ROUTERS
from tests.api.conftest import a_job


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"batchsize": 2}, "batchsize", "did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "batch_size", "a whole number, not 'many'"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"batch_size": 1201}, "batch_size", "1200 training samples"),
        ({"normalizer": {"kind": "group", "groups": 3}}, "normalizer.groups", "use one of 1, 2, 4"),
        ({"normalizer": "btach"}, "normalizer", "use one of 'batch'"),
        ({"dataset": {"name": "imagenet"}}, "dataset.name", "choose one of digits, shapes32"),
        ({"dataset": {"name": "cifar10"}}, "dataset.name", "data_batch_1.bin"),
        ({"dataset": "imagenet"}, "dataset.name", "choose one of digits, shapes32"),
        ({"model": 8}, "model", "must be a name, or an object with its options, not 8"),
        ({"ema": 0.9}, "ema", "its fields are ema.decay, ema.every, ema.start"),
        ({"model": {"name": "vgg"}}, "model.name", "preresnet8"),
        ({"model": {"name": "unet"}}, "model.name", "is for segmentation"),
        ({"model": {"name": "detector"}}, "model.name", "detector is for detection and digits for"),
        ({"dataset": {"name": "textures32"}}, "model.name", "use stylizer"),
        (
            {"dataset": {"name": "textures32", "options": {"style": "monet"}}},
            "dataset.options.style",
            "'checks', 'stripes', 'waves' or 'blobs'",
        ),
        ({"optimizer": {"name": "sgd", "lr": -1}}, "optimizer.lr", "greater than 0"),
        ({"device": "tpu"}, "device", "'auto', 'cpu', 'cuda' or 'ipu'"),
        ({"device": "ipu", "normalizer": "online"}, "normalizer.kind", "backward control process"),
        ({"precision": "float16", "device": "cpu"}, "precision", "bfloat16"),
        ({"name": "a\x00b"}, "name", "control"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_a_broken_rule_is_422_with_its_field(
    client: httpx.Client, path: str, fields: dict[str, Any], field: str, words: str
) -> None:
    response = client.post(path, json=a_job(**fields))
    assert response.status_code == 422, response.text
    found = {e["field"]: e["rule"] for e in response.json()["errors"]}
    assert words in found[field]


def test_nan_and_infinity_are_refused(client: httpx.Client) -> None:
    for text in ("NaN", "Infinity", "1e999"):
        body = f'{{"normalizer": "batch", "optimizer": {{"name": "sgd", "lr": {text}}}}}'
        response = client.post(
            "/v1/jobs", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 422
        assert "finite" in response.json()["detail"]


def test_a_body_over_the_limit_is_413(client: httpx.Client) -> None:
    response = client.post("/v1/jobs", json=a_job(name="x" * (1 << 20)))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cursor": "made-up"}, "cursor"),
        ({"cursor": "WzEsMl0"}, "cursor"),
        ({"sort": "nonsense"}, "sort"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"state": "lost"}, "state"),
        ({"filter": "batch_size <="}, "filter"),
    ],
)
def test_a_list_with_impossible_parameters_is_422(
    client: httpx.Client, params: dict[str, Any], field: str
) -> None:
    response = client.get("/v1/jobs", params=params)
    assert response.status_code == 422, response.text
    assert field in {e["field"].split(".")[0] for e in response.json()["errors"]}


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_an_invalid_idempotency_key_is_422(client: httpx.Client, key: str) -> None:
    response = client.post("/v1/jobs", json=a_job(), headers={"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "idempotency-key"


def _post(client: httpx.Client, path: str, body: str) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return client.post(path, content=body.encode("utf-8", "surrogatepass"), headers=headers)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate", "/v1/studies:preview"])
@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ('{"x": ' + "[" * 260 + "]" * 260 + "}", "x" + ".0" * 32, "32 levels"),
        ("[" * 200_000, "body", "32 levels"),
        ('{"normalizer": "batch", "normalizer": "layer"}', "normalizer", "twice"),
        ('{"name": "\\ud800"}', "name", "Unicode"),
        ('{"name": "a\\u0000b"}', "name", "NUL"),
        ('{"\\udfff": 1}', "body", "Unicode"),
        ('{"max_steps": 1' + "0" * 30 + "}", "max_steps", "64 bits"),
        ('{"max_steps": 1' + "0" * 5000 + "}", "body", "64 bits"),
        ('{"base": {"seed": -1' + "0" * 30 + "}}", "base.seed", "64 bits"),
        ('{"exclude": [{"seed": 1' + "0" * 30 + "}]}", "exclude.0.seed", "64 bits"),
        ('{"seeds": 1' + "0" * 30 + "}", "seeds", "64 bits"),
        ('{"label_smoothing": -Infinity}', "label_smoothing", "finite"),
        ('{"label_smoothing": 1' + "0" * 400 + ".5}", "label_smoothing", "finite"),
        ('"\ud800"', "body", "Unicode"),
    ],
)
def test_json_that_cannot_be_stored_is_422_with_its_place(
    client: httpx.Client, path: str, body: str, field: str, words: str
) -> None:
    response = _post(client, path, body)
    assert response.status_code == 422, response.text
    (problem,) = response.json()["errors"]
    assert problem["field"] == field
    assert words in problem["rule"]


def test_of_thousands_of_problems_the_first_ones_are_told(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs", json=a_job(diagnostics=list(range(2000))))
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 50)
    assert answer.json()["detail"].endswith("and 1997 more")


def test_forty_million_seeds_are_refused_before_there_are_any(client: httpx.Client) -> None:
    study = {"name": "s", "base": {"normalizer": "batch"}, "seeds": 40_000_000}
    for path in ("/v1/studies:preview", "/v1/studies"):
        tracemalloc.start()
        response = client.post(path, json=study)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert response.status_code == 422
        assert "1 to 20000 seeds" in response.json()["errors"][0]["rule"]
        assert peak < 20e6


def _cursor(*content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


_ID = "019aaaaa-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("path", "sort", "position"),
    [
        ("/v1/jobs", "batch_size", [True, _ID]),
        ("/v1/jobs", "-val/accuracy", ["1", _ID]),
        ("/v1/jobs", "-created_at", [True, _ID]),
        ("/v1/jobs", "-created_at", ["2026-11-28", _ID]),
        ("/v1/jobs", "name", [None, _ID]),
        ("/v1/jobs", "name", ["a\x00", _ID]),
        ("/v1/jobs", "name", ["a", "no-id"]),
        ("/v1/jobs", "name", ["a"]),
        ("/v1/studies", "studies", [True]),
        ("/v1/studies", "studies", ["no-id"]),
    ],
)
def test_a_cursor_of_wrong_types_is_422(
    client: httpx.Client, path: str, sort: str, position: list[Any]
) -> None:
    params = {"cursor": _cursor(sort, *position)} | ({"sort": sort} if path == "/v1/jobs" else {})
    response = client.get(path, params=params)
    assert response.status_code == 422, response.text


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("not " * 80 + "seed = 1", "filter_too_costly"),
        (" or ".join(["val/accuracy > 0.5"] * 60), "filter_too_costly"),
        (f"seed = {10**30}", None),
        ("seed = 1e999", None),
        ("(" * 85 + "seed = 1" + ")" * 85, None),
        ("name = 'a\x00b'", "invalid_spec"),
    ],
)
def test_a_hostile_filter_is_answered_or_refused(
    client: httpx.Client, where: str, code: str | None
) -> None:
    response = client.get("/v1/jobs", params={"filter": where})
    assert response.status_code == (200 if code is None else 422), response.text
    assert response.json().get("code") == code


def test_every_route_with_a_json_body_reads_it_strictly() -> None:
    routes = [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute)]
    with_body = [r for r in routes if r.body_field]
    assert len(with_body) > 5
    assert [r.path for r in with_body if not isinstance(r, JsonRoute)] == []
