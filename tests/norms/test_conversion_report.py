"""`convert` reports what it converted, kept and skipped, and `skip` works as described."""

from __future__ import annotations

from typing import Any, List

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from normlab.errors import InvalidSpec
from normlab.norms.conversion import convert
from normlab.norms.conversion_report import ConversionReport


class RMSNorm(nn.Module):
    """As in later versions of torch."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))


class FrozenBatchNorm2d(nn.Module):
    pass


class Conv2dNormActivation(nn.Sequential):
    pass


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.bn1(x))
        return y


def _net() -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("stem", Conv2dNormActivation(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))
    net.add_module("layer1", Block())
    net.add_module("layer2", nn.Sequential(Block(), nn.GroupNorm(2, 8)))
    return net


def _report(model: nn.Module, normalizer: Any, **options: Any) -> ConversionReport:
    found: List[ConversionReport] = []
    convert(model, normalizer, report=found.append, **options)
    return found[0]


def test_every_layer_is_reported_with_the_values_that_were_kept() -> None:
    report = _report(nn.Sequential(nn.BatchNorm2d(8), nn.InstanceNorm2d(8)), "batch")
    first, second = report.converted
    assert (first.path, first.old, first.new) == ("0", "BatchNorm2d", "BatchNorm")
    assert first.carried == (
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    )  # fmt: skip
    assert (second.path, second.carried, second.notes) == ("1", (), ())


def test_values_without_a_place_in_the_new_kind_are_noted() -> None:
    assert _report(nn.BatchNorm2d(8), "group").converted[0].notes == (
        "GroupNorm has no running statistics",
    )
    assert "see each other" in _report(nn.LayerNorm(8), "batch").converted[0].notes[0]
    assert "for each channel" in _report(nn.LayerNorm([8, 2]), "layer").converted[0].notes[0]
    last = nn.Sequential(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), nn.Sequential())
    plain = {"kind": "batch", "affine": True}
    assert (
        "gains an affine" in _report(nn.BatchNorm2d(8, affine=False), plain).converted[0].notes[0]
    )
    assert _report(last, {"kind": "batch", "proxy": True}).converted[0].notes == ()


def test_normalization_layers_that_are_kept_are_named_with_the_reason() -> None:
    net = nn.Sequential(
        nn.BatchNorm2d(8),
        RMSNorm(8),
        FrozenBatchNorm2d(),
        nn.LocalResponseNorm(2),
        parametrizations.spectral_norm(nn.Conv2d(8, 8, 1)),
        nn.utils.spectral_norm(nn.Linear(2, 2)),
    )
    report = _report(net, "group")
    assert [kept.path for kept in report.kept] == ["1", "2", "3", "4", "5"]
    words = ["root mean square", "constants", "neighbouring", "_SpectralNorm", "SpectralNorm"]
    for kept, word in zip(report.kept, words):
        assert word in kept.why
    again = _report(nn.Sequential(net[0], nn.BatchNorm2d(8)), "batch")
    assert [(kept.path, kept.why) for kept in again.kept] == [
        ("0", "is a normalizer of normlab already")
    ]


def test_a_block_with_norm_in_its_name_is_searched() -> None:
    report = _report(_net(), "group")
    assert report.kept == ()
    assert [c.path for c in report.converted] == [
        "stem.1", "layer1.bn1", "layer1.bn2", "layer2.0.bn1", "layer2.0.bn2", "layer2.1",
    ]  # fmt: skip


def test_it_prints_its_report_unless_told_where(capsys: pytest.CaptureFixture[str]) -> None:
    convert(_net(), "group", skip="stem.1")
    said = capsys.readouterr().out
    assert said.startswith("converted to group: 5, kept: 0, skipped: 1\n")
    assert "4 x BatchNorm2d -> GroupNorm (layer1.bn1, layer1.bn2, layer2.0.bn1 and 1 more)" in said
    assert "skipped BatchNorm2d by 'stem.1' (stem.1)" in said
    convert(_net(), "group", report=None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (["stem.1"], ["stem.1"]),
        ("layer2.*", ["layer2.0.bn1", "layer2.0.bn2", "layer2.1"]),
        (["*.bn1"], ["layer1.bn1", "layer2.0.bn1"]),
        (["layer1"], ["layer1.bn1", "layer1.bn2"]),
        (nn.GroupNorm, ["layer2.1"]),
        ([Block, "stem*"], ["stem.1", "layer1.bn1", "layer1.bn2", "layer2.0.bn1", "layer2.0.bn2"]),
        ([nn.modules.batchnorm._BatchNorm, nn.GroupNorm], None),
    ],
)
def test_skip_takes_paths_patterns_and_classes(skip: Any, left: Any) -> None:
    net = _net()
    report = _report(net, "layer", skip=skip)
    every = ["stem.1", "layer1.bn1", "layer1.bn2", "layer2.0.bn1", "layer2.0.bn2", "layer2.1"]
    assert [s.path for s in report.skipped] == (every if left is None else left)
    for path in every:
        ours = type(net.get_submodule(path)).__module__.startswith("normlab")
        assert ours == (path not in [s.path for s in report.skipped])


@pytest.mark.parametrize(
    ("skip", "words"),
    [
        (["layer1.bn3"], "'layer1.bn3' matches no norm layer; near it: layer1.bn"),
        (["stem.1", "layer9.*"], "'layer9.*' matches no norm layer"),
        ([nn.InstanceNorm2d], "'InstanceNorm2d' matches no norm layer"),
        ([3], "skip takes paths, patterns"),
    ],
)
def test_a_skip_that_skips_nothing_is_refused_with_similar_names(skip: Any, words: str) -> None:
    net = _net()
    with pytest.raises(InvalidSpec, match=r"^skip") as caught:
        convert(net, "group", skip=skip)
    assert words in str(caught.value)
    assert caught.value.problems[0].field == "skip"
    assert isinstance(net.stem[1], nn.BatchNorm2d)


def test_one_place_of_a_shared_layer_cannot_be_skipped() -> None:
    norm = nn.BatchNorm2d(4)
    with pytest.raises(InvalidSpec, match="2 and 0 are one layer"):
        convert(nn.Sequential(norm, nn.Conv2d(4, 4, 1), norm), "group", skip=["2"])
