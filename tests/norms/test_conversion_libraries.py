"""Norm layers of timm and torchvision are recognized by class and keep their fused operations."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import ProxyNorm, make
from normlab.norms.conversion import convert
from normlab.norms.conversion_report import ConversionReport
from normlab.specs.normalizers import BY_KIND, parse_normalizer


class _Fused:
    """The operations of timm's layers after their norm."""

    drop: nn.Module
    act: nn.Module

    def finish(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.drop(x))
        return y


class BatchNormAct2d(nn.BatchNorm2d, _Fused):
    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


class GroupNormAct(nn.GroupNorm, _Fused):
    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerNormAct2d(LayerNorm2d, _Fused):
    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


class LayerNorm(nn.LayerNorm):
    pass


class GroupNorm(nn.GroupNorm):
    def __init__(self, num_channels: int, num_groups: int) -> None:
        super().__init__(num_groups, num_channels)


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(c))


class InstanceNormAct2d(nn.InstanceNorm2d):
    pass


class TorchvisionLayerNorm2d(LayerNorm2d):
    pass


class RmsNorm(nn.Module):
    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.normalized_shape, self.eps = (channels,), eps
        self.weight = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class RmsNorm2d(RmsNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class RmsNormAct2d(RmsNorm2d, _Fused):
    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


class LlamaRMSNorm(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(hidden_size) + 0.5)
        self.variance_epsilon = 1e-3

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3))


class GemmaRMSNorm(LlamaRMSNorm):
    pass


def _belongs_to(module: str, *kinds: type) -> None:
    for kind in kinds:
        kind.__module__ = module


_belongs_to("timm.layers.norm_act", BatchNormAct2d, GroupNormAct, LayerNormAct2d, InstanceNormAct2d)
_belongs_to("timm.layers.norm_act", RmsNormAct2d)
_belongs_to("timm.layers.norm", LayerNorm2d, LayerNorm, GroupNorm, RmsNorm, RmsNorm2d)
_belongs_to("transformers.models.llama.modeling_llama", LlamaRMSNorm, GemmaRMSNorm)
_belongs_to("torchvision.models.convnext", TorchvisionLayerNorm2d)
_belongs_to("torchvision.ops.misc", FrozenBatchNorm2d)
TorchvisionLayerNorm2d.__name__ = "LayerNorm2d"


def _fused(kind: Callable[..., Any], act: nn.Module, drop: nn.Module, *given: Any) -> nn.Module:
    layer: nn.Module = kind(*given)
    layer.drop, layer.act = drop, act
    for p in layer.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    return layer


def _batch(act: nn.Module | None = None, drop: nn.Module | None = None) -> nn.Module:
    return _fused(BatchNormAct2d, act or nn.ReLU(inplace=True), drop or nn.Identity(), 8)


SAME: list[tuple[Callable[[], nn.Module], Any, tuple[int, ...]]] = [
    (_batch, "batch", (4, 8, 5, 5)),
    (lambda: _batch(nn.Hardswish(), nn.Dropout(0.0)), "batch", (4, 8, 5, 5)),
    (lambda: _fused(GroupNormAct, nn.SiLU(), nn.Identity(), 2, 8), "group", (4, 8, 5, 5)),
    (lambda: _fused(LayerNormAct2d, nn.GELU(), nn.Identity(), 8), "layer", (4, 8, 5, 3)),
    (lambda: LayerNorm2d(8), "layer", (4, 8, 5, 3)),
    (lambda: TorchvisionLayerNorm2d(8), "layer", (4, 8, 8, 8)),
    (lambda: LayerNorm(8), "layer", (4, 5, 8)),
    (lambda: GroupNorm(8, 2), "group", (4, 8, 5, 5)),
    (lambda: RmsNorm(8), "rms", (4, 5, 8)),
    (lambda: RmsNorm2d(8), "rms", (4, 8, 5, 3)),
    (lambda: _fused(RmsNormAct2d, nn.SiLU(), nn.Identity(), 8), "rms", (4, 8, 5, 3)),
    (lambda: LlamaRMSNorm(8), "rms", (4, 5, 8)),
]
TOKENS = (LayerNorm, LlamaRMSNorm)


@pytest.mark.parametrize(("build", "kind", "shape"), SAME)
@pytest.mark.parametrize("training", [True, False])
def test_each_layer_becomes_its_equivalent_with_its_fused_operations(
    build: Callable[[], nn.Module], kind: str, shape: tuple[int, ...], training: bool
) -> None:
    torch.manual_seed(0)
    old = build().train(training)
    new = convert(copy.deepcopy(old), kind)
    x = torch.randn(shape)
    torch.testing.assert_close(new(x), old(x))


def test_dropout_stays_between_norm_and_activation() -> None:
    new = convert(_batch(nn.ReLU(), nn.Dropout(0.5)), "group")
    assert [type(part).__name__ for part in new] == ["GroupNorm", "Dropout", "ReLU"]


def test_layer_norm_2d_is_converted_to_the_groups_and_positions_of_the_kind() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 4, 5)
    tokens = x.permute(0, 2, 3, 1).reshape(-1, 8)
    grouped = convert(LayerNorm2d(8), {"kind": "group", "groups": 2})(x)
    expected = F.group_norm(tokens, 2).reshape(3, 4, 5, 8).permute(0, 3, 1, 2)
    torch.testing.assert_close(grouped, expected)
    for kind in ("batch", "instance", "online", "switchable"):
        torch.testing.assert_close(convert(LayerNorm2d(8), kind)(x), make(kind, 8)(x))


@pytest.mark.parametrize("kind", [k for k in BY_KIND if not parse_normalizer(k).fuses_activation])
def test_every_kind_can_replace_every_layer(kind: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), *[build() for build, _, shape in SAME if shape[-1] > 3])
    net = nn.Sequential(*[m for m in net if not isinstance(m, TOKENS) and type(m) is not RmsNorm])
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    convert(net, kind)
    net(torch.randn(4, 3, 5, 5)).sum().backward()


def test_proxy_takes_the_fused_activation_and_only_one_it_knows() -> None:
    proxy = {"kind": "group", "groups": 2, "proxy": True}
    new = convert(_batch(nn.SiLU()), proxy)
    assert isinstance(new, ProxyNorm)
    assert new.activation == "silu"
    with pytest.raises(InvalidSpec, match="holds Hardswish"):
        convert(_batch(nn.Hardswish()), proxy)
    with pytest.raises(InvalidSpec, match="a dropout before its activation"):
        convert(_batch(nn.ReLU(), nn.Dropout(0.1)), proxy)


def test_kinds_for_weights_keep_the_fused_operations() -> None:
    net = convert(nn.Sequential(nn.Conv2d(3, 8, 1), _batch(nn.ReLU())), "weight")
    assert [type(part).__name__ for part in net[1]] == ["Identity", "ReLU"]


def test_a_root_mean_square_norm_of_another_formula_is_kept_with_the_reason() -> None:
    found: list[ConversionReport] = []
    net = nn.Sequential(GemmaRMSNorm(8), LlamaRMSNorm(8))
    convert(net, "layer", report=found.append)
    assert [(kept.path, "1 + weight" in kept.why) for kept in found[0].kept] == [("0", True)]
    assert [new.path for new in found[0].converted] == ["1"]


def test_frozen_batch_norm_is_kept_and_unknown_classes_are_refused() -> None:
    found: list[ConversionReport] = []
    convert(nn.Sequential(_batch(), FrozenBatchNorm2d(8)), "group", report=found.append)
    assert [(kept.path, kept.kind) for kept in found[0].kept] == [("1", "FrozenBatchNorm2d")]
    with pytest.raises(InvalidSpec, match=r"0 \(InstanceNormAct2d\): it is a subclass"):
        convert(nn.Sequential(InstanceNormAct2d(8)), "group")
