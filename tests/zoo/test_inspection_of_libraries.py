"""What the inspection process reports about other libraries' networks, unknown to the API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from accelerators.inspection import library_networks
from accelerators.inspection.library_networks import import_libraries
from accelerators.inspection.server import answer
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from tests.zoo.test_networks_of_libraries import GPT, VIT


def asked(name: str, kind: Any = "layer", **fields: Any) -> dict[str, Any]:
    model = {"name": name, "options": fields.pop("options", {})}
    spec = {"normalizer": kind, "model": model, "batch_size": 2, **fields}
    return answer(json.dumps(spec).encode())


def test_size_memory_operators_and_norm_layers_are_known_before_training() -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "model": {"name": "timm/test_resnet"}})
    built = build(spec.model, spec.normalizer, 3, 16, 32)
    found = asked("timm/test_resnet", "batch")
    assert found["parameters"] == sum(p.numel() for p in built.parameters())
    assert found["conversion"].startswith("converted to batch: 15, kept: 0")
    assert found["ipu_passes"]
    assert found["memory_bytes"] > 1 << 26


def test_an_operator_that_an_ipu_lacks_is_named() -> None:
    found = asked("timm/test_vit", "layer")
    assert not found["ipu_passes"]
    assert "softmax" in found["ipu_message"]


@pytest.mark.parametrize(
    ("name", "options", "dataset"),
    [("vit", VIT, "shapes32"), ("gpt2", GPT, "grammar")],
)
def test_networks_from_a_configuration_are_inspected_too(
    name: str, options: dict[str, Any], dataset: str
) -> None:
    found = asked(f"transformers/{name}", options=options, dataset={"name": dataset})
    assert found["conversion"].startswith("converted to layer: 3, kept: 0")


@pytest.mark.parametrize(
    ("name", "kind", "options", "field", "says"),
    [
        ("timm/test_rsnet", "batch", {}, "model.name", "did you mean test_resnet"),
        ("timm/vgg11", "batch", {}, "model.name", "has no norm layer"),
        ("timm/test_vit", "layer", {"depht": 1}, "model.options", "'depht'"),
        ("timm/test_resnet", {"kind": "group", "groups": 5}, {}, "normalizer", "14 other layers"),
        ("timm/test_resnet", "batch", {"features_only": True}, "model.options", "returns list"),
        ("torchvision/inception_v3", "batch", {}, "model.name", "cannot take these samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_what_cannot_be_trained_is_refused_with_its_field(
    name: str, kind: Any, options: dict[str, Any], field: str, says: str
) -> None:
    ((found, rule),) = asked(name, kind, options=options)["problems"]
    assert found == field
    assert says in rule


def test_statistics_over_one_value_are_refused_where_they_would_be_taken() -> None:
    found = asked("timm/test_resnet", "batch", batch_size=1)
    assert "one value for each channel" in found["problems"][0][1]
    assert "problems" not in asked("timm/test_resnet", "group", batch_size=1)


def test_weights_are_not_looked_for() -> None:
    found = asked("timm/test_vit", options={"pretrained": True, "weights": "none.safetensors"})
    assert found["conversion"].startswith("converted to layer: 13")


def test_the_content_of_pretrained_weights_that_are_here_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    name = Path(torchvision.models.get_model_weights("resnet18").DEFAULT.url).name
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(b"theirs")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    ((field, rule),) = asked("torchvision/resnet18", options={"pretrained": True})["problems"]
    digest = hashlib.sha256(b"theirs").hexdigest()
    assert field == "model.options.sha256"
    assert f"have the SHA-256 {digest}; give it" in rule
    told = {"pretrained": True, "sha256": digest}
    assert "problems" not in asked("torchvision/resnet18", options=told)


def test_a_network_that_reads_values_while_it_is_built_is_built_with_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import timm

    make = timm.create_model

    def reading(*args: Any, **options: Any) -> Any:
        assert torch.linspace(0, 1, 3)[-1].item() == 1
        return make(*args, **options)

    monkeypatch.setattr(timm, "create_model", reading)
    assert asked("timm/test_resnet", "batch")["conversion"].startswith("converted to batch: 15")


def test_a_library_that_is_not_here_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_networks.importlib.util, "find_spec", lambda name: None)
    import_libraries()
    found = asked("timm/test_resnet")
    assert found["lacks"] == "timm"
    assert "pip install 'normlab[zoo]'" in found["problems"][0][1]
