"""The layers of a job's network: shapes, costs, and which layer takes the output of which."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from accelerators.inspection.server import answer
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS

_DATA = {"unet": "scenes32", "lstm": "grammar", "detector": "objects32", "stylizer": "textures32"}
# one normalizer for all gates of the recurrent one; large ones of the same families
_OTHERWISE = {"lstm", "resnet56", "resnet50", "randomplain100"}


def layers_of(model: str, normalizer: Any = "layer") -> list[dict[str, Any]]:
    spec = {"normalizer": normalizer, "model": {"name": model}, "anatomy": True}
    spec["dataset"] = {"name": _DATA.get(model, "shapes32")}
    found = answer(json.dumps(spec).encode())
    layers: list[dict[str, Any]] = found["layers"]
    return layers


@pytest.mark.parametrize("model", sorted(set(MODELS.own) - _OTHERWISE))
def test_the_normalizers_are_those_that_the_catalogue_promises(model: str) -> None:
    promised = sorted((p.channels, p.side) for p in MODELS[model].sites(None, 32))
    layers = [one for one in layers_of(model) if one["role"] == "normalizer"]
    if model in ("vit", "convnext"):  # tokens, not maps
        assert len(layers) == len(promised)
        return
    assert sorted((one["output"][0], one["output"][1]) for one in layers) == promised


def test_a_residual_block_ends_where_the_shortcut_is_added() -> None:
    layers = layers_of("preresnet8")
    (first, *_) = [one for one in layers if one["role"] == "join"]
    before = [layers[i]["name"] for i in first["after"]]
    assert before == ["0", "1.conv2"]
    following = next(one for one in layers if one["name"] == "2.norm1.layer")
    assert [layers[i]["name"] for i in following["after"]] == [first["name"]]


def test_costs_are_counted_as_by_hand() -> None:
    by_name = {one["name"]: one for one in layers_of("preresnet8", "batch")}
    conv, norm = by_name["2.conv1"], by_name["2.norm2.layer"]
    assert (conv["input"], conv["output"]) == ([8, 16, 16], [16, 8, 8])
    assert conv["products"] == 16 * 8 * 8 * 8 * 9
    assert conv["parameters"] == 16 * 8 * 9
    assert norm["values"] == math.prod([16, 8, 8])
    assert (norm["parameters"], norm["state"]) == (2 * 16, 2 * 16 + 2)


def test_normalized_weights_are_told() -> None:
    convs = [one for one in layers_of("convnet", "weight") if one["role"] == "filter"]
    assert [one["weights_normalized"] for one in convs] == [True] * 6 + [False]


def test_a_gate_of_a_recurrent_network_is_one_layer_with_many_calls() -> None:
    layers = layers_of("lstm")
    assert {one["role"] for one in layers} <= {"filter", "normalizer", "other"}
    assert max(one["calls"] for one in layers) > 1


def test_a_network_that_cannot_be_built_says_why() -> None:
    spec = JobSpec(normalizer="batch").model_dump(mode="json")
    spec["dataset"]["name"] = "nobody"
    assert "nobody" in answer(json.dumps({**spec, "anatomy": True}).encode())["error"]
