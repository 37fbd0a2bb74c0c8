"""What cannot be a job is refused with the field, the rule and what would be accepted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.conftest import a_job


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"batchsize": 2}, "batchsize", "did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "batch_size", "valid integer"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"batch_size": 1201}, "batch_size", "1200 training samples"),
        ({"normalizer": {"kind": "group", "groups": 3}}, "normalizer.groups", "use one of 1, 2, 4"),
        ({"normalizer": "btach"}, "normalizer", "use one of 'batch'"),
        ({"dataset": {"name": "imagenet"}}, "dataset.name", "choose one of digits, shapes32"),
        ({"dataset": {"name": "cifar10"}}, "dataset.name", "data_batch_1.bin"),
        ({"model": {"name": "vgg"}}, "model.name", "preresnet8"),
        ({"model": {"name": "unet"}}, "model.name", "is for segmentation"),
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
def test_a_list_that_cannot_be_made_is_422(
    client: httpx.Client, params: dict[str, Any], field: str
) -> None:
    response = client.get("/v1/jobs", params=params)
    assert response.status_code == 422, response.text
    assert field in {e["field"].split(".")[0] for e in response.json()["errors"]}


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_an_idempotency_key_that_is_none_is_422(client: httpx.Client, key: str) -> None:
    response = client.post("/v1/jobs", json=a_job(), headers={"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "idempotency-key"
