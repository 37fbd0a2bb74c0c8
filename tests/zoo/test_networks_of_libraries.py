"""Networks of timm, torchvision and transformers are made by name, with any normalizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.nets.loaded_weights import LoadedWeights, file_hash
from normlab.norms import activation_norms
from normlab.norms.conversion_report import ConversionReport
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer

VIT = {
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
GPT = {"n_embd": 16, "n_layer": 1, "n_head": 2}


def make(
    name: str, kind: Any = "layer", *, channels: int = 3, task: str = "classification",
    data_root: Path | None = None, reports: list[Any] | None = None, **options: Any,
) -> nn.Module:  # fmt: skip
    reports = [] if reports is None else reports
    model, norm = ModelSpec(name=name, options=options), parse_normalizer(kind)
    return build(model, norm, channels, 5, 32, reports.append, task, data_root)


@pytest.mark.parametrize(
    ("name", "kind", "converted", "options"),
    [
        ("timm/test_convnext", "layer", 14, {}),
        ("timm/test_vit", "rms", 13, {}),
        ("timm/test_resnet", "batch", 15, {}),
        ("torchvision/resnet18", "dyt", 20, {}),
        ("transformers/vit", "layer", 3, VIT),
    ],
)
def test_its_norm_layers_become_the_jobs_normalizer(
    name: str, kind: str, converted: int, options: dict[str, Any]
) -> None:
    reports: list[Any] = []
    net = make(name, kind, reports=reports, **options)
    logits = net(torch.randn(2, 3, 32, 32))
    logits.logsumexp(1).sum().backward()
    assert logits.shape == (2, 5)
    assert len(activation_norms(net)) == converted
    (report,) = reports
    assert isinstance(report, ConversionReport)
    assert (report.normalizer, len(report.converted), report.kept) == (kind, converted, ())


@pytest.mark.parametrize(("name", "options"), [("gpt2", GPT), ("bert", VIT)])
def test_a_network_that_reads_predicts_the_next_character_from_those_before(
    name: str, options: dict[str, Any]
) -> None:
    options = {key: value for key, value in options.items() if key != "patch_size"}
    net = make(f"transformers/{name}", "rms", channels=5, task="language", **options).eval()
    x = nn.functional.one_hot(torch.randint(5, (2, 32)), 5).float().transpose(1, 2)
    y = net(x)
    assert y.shape == (2, 5, 32)
    x[:, :, 20:] = x[:, :, 20:].flip(1)
    torch.testing.assert_close(net(x)[:, :, :20], y[:, :, :20])


def test_options_reach_the_library() -> None:
    deep = make("timm/test_convnext", depths=[1, 1, 1, 2])
    assert len(activation_norms(deep)) < len(activation_norms(make("timm/test_convnext")))


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("timm/convnxt_tiny", {}, "no network 'convnxt_tiny'; did you mean convnext_tiny"),
        ("timm/test_vit.nowhere", {}, "did you mean test_vit.r160_in1k"),
        ("torchvision/resnet19", {}, "did you mean resnet18"),
        ("transformers/vitt", {}, "did you mean vit"),
        ("transformers/bert", {}, "transformers cannot make bert with these options: Unrecognized"),
        ("timm/vgg11", {}, "VGG has no norm layer of torch to convert.*normalizer 'none'"),
        ("timm/test_vit", {"depht": 2}, "model.options: timm cannot make test_vit with.*'depht'"),
        ("timm/test_vit", {"img_size": 8}, "model.options.img_size: follows from the dataset"),
        ("timm/test_vit", {"checkpoint_path": "/x"}, "model.options.checkpoint_path: names files"),
        ("timm/test_vit", {"in_chans": 3}, "model.options.in_chans: follows from the dataset"),
        ("torchvision/resnet18", {"channels": 1}, "takes images of 3 channels, not 1"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(
    name: str, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidSpec, match=says):
        make(name, **given)


def test_without_a_normalizer_a_network_needs_no_norm_layers() -> None:
    reports: list[Any] = []
    net = make("torchvision/alexnet", "none", reports=reports)
    assert activation_norms(net) == []
    assert reports[0].converted == ()


def test_one_that_was_given_other_channels_takes_them() -> None:
    assert make("timm/test_resnet", "batch", channels=1)(torch.randn(2, 1, 32, 32)).shape == (2, 5)


def _stored(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    import timm

    state = timm.create_model("test_vit", num_classes=5, img_size=32, **changes).state_dict()
    save_file(state, str(folder / name))
    return dict(state)


def test_a_file_of_weights_is_what_it_starts_with(tmp_path: Path) -> None:
    state = _stored(tmp_path, "mine.safetensors")
    reports: list[Any] = []
    net = make("timm/test_vit", weights="mine.safetensors", data_root=tmp_path, reports=reports)
    found = net.state_dict()
    torch.testing.assert_close(found["head.weight"], state["head.weight"])
    torch.testing.assert_close(found["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(found["norm.norm.weight"], state["norm.weight"])
    assert str(reports[0]).startswith("weights of mine.safetensors (SHA-256 ")


def test_weights_that_changed_since_the_job_was_accepted_are_refused(tmp_path: Path) -> None:
    _stored(tmp_path, "mine.safetensors")
    with pytest.raises(InvalidSpec, match="submit a new job to use these"):
        make("timm/test_vit", weights="mine.safetensors", sha256="0" * 64, data_root=tmp_path)


def test_a_head_of_other_classes_is_drawn_anew_and_said(tmp_path: Path) -> None:
    reports: list[Any] = []
    state = _stored(tmp_path, "other.safetensors")
    state.update({"head.weight": torch.zeros(9, 64), "head.bias": torch.zeros(9)})
    save_file(state, str(tmp_path / "other.safetensors"))
    make("timm/test_vit", weights="other.safetensors", data_root=tmp_path, reports=reports)
    loaded = next(r for r in reports if isinstance(r, LoadedWeights))
    assert loaded.fresh == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("none.safetensors", "none.safetensors: No such file"),
        ("bad.safetensors", "bad.safetensors is damaged, or is not a safetensors file"),
        (
            "deep.safetensors",
            r"deep.safetensors does not fit VisionTransformer: the network has no",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(file: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no such file")
    _stored(tmp_path, "deep.safetensors", depth=7)
    with pytest.raises(InvalidSpec, match=says):
        make("timm/test_vit", weights=file, data_root=tmp_path)


def test_pretrained_weights_come_from_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    import timm

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InvalidSpec, match=r"test_vit.r160_in1k .* is not in the cache.*download"):
        make("timm/test_vit", pretrained=True)
    folder = tmp_path / "models--timm--test_vit.r160_in1k" / "snapshots" / "a1"
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("a1")
    theirs = timm.create_model("test_vit", num_classes=1000)
    save_file(theirs.state_dict(), str(folder / "model.safetensors"))
    with pytest.raises(InvalidSpec, match=r"cache here have the SHA-256 [0-9a-f]{64}; give it"):
        make("timm/test_vit", pretrained=True)
    with pytest.raises(InvalidSpec, match=f"and the job names {'0' * 64}; put those there"):
        make("timm/test_vit", pretrained=True, sha256="0" * 64)
    reports: list[Any] = []
    digest = file_hash(folder / "model.safetensors")
    net = make("timm/test_vit", pretrained=True, sha256=digest, reports=reports)
    name = "blocks.1.mlp.fc1.weight"
    torch.testing.assert_close(net.state_dict()[name], theirs.state_dict()[name])
    assert reports[0].source == "timm/test_vit"


def test_a_download_that_was_asked_for_and_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*args: Any, **kwargs: Any) -> str:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(InvalidSpec, match="could not be fetched: the hub cannot be reached"):
        make("timm/test_vit", pretrained=True, download="allow")
