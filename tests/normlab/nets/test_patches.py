"""The vision transformer and the ConvNeXt of our own size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normlab.diagnostics.sites import normalizer_sites
from normlab.nets import build
from normlab.nets.patches import Added, PatchConv
from normlab.nets.sites import NetSpec, PositionSite
from normlab.specs.models import MODELS
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import BY_KIND, parse_normalizer


def make(name: str, kind: str, width: int = 16) -> nn.Module:
    return build(ModelSpec(name=name, width=width), parse_normalizer(kind), 3, 5, 32)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_any_normalizer_fits(kind: str) -> None:
    torch.manual_seed(0)
    net = make("vit", kind)
    y = net(torch.randn(4, 3, 32, 32))
    y.sum().backward()
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_diagnostics_find_each_of_its_normalizers(name: str) -> None:
    net = make(name, "rms")
    assert len(normalizer_sites(net)) == len(MODELS[name].channels(16)) > 8


def test_layer_norm_stays_within_each_position_in_both_layouts() -> None:
    spec = NetSpec(parse_normalizer("layer"), 3, 5, 8, 32)
    x = torch.randn(2, 8, 4, 4)
    last = x.movedim(1, -1)
    expected = nn.functional.layer_norm(last, (8,))
    torch.testing.assert_close(PositionSite(spec, 8, channels_last=True)(last), expected)
    first = PositionSite(spec, 8, channels_last=False)(x)
    torch.testing.assert_close(first, expected.movedim(-1, 1))


def test_batch_norm_takes_all_positions_of_all_samples() -> None:
    spec = NetSpec(parse_normalizer("batch"), 3, 5, 8, 32)
    x = torch.randn(4, 6, 8)
    y = PositionSite(spec, 8, channels_last=True)(x)
    expected = nn.functional.batch_norm(x.transpose(1, 2), None, None, training=True)
    torch.testing.assert_close(y, expected.transpose(1, 2))


def test_convolutions_without_an_activation_keep_the_size_of_what_passes() -> None:
    torch.manual_seed(0)
    net = make("convnext", "none", width=64)
    depthwise = next(m for m in net.modules() if isinstance(m, PatchConv) and m.groups > 1)
    y = depthwise(torch.randn(4, 64, 32, 32))
    assert y[:, :, 3:-3, 3:-3].std().item() == pytest.approx(1, rel=0.1)


def test_each_block_is_added_to_what_passes_it() -> None:
    blocks = [m for m in make("vit", "layer").modules() if isinstance(m, Added)]
    assert len(blocks) == 8
    x = torch.randn(2, 64, 16)
    torch.testing.assert_close(blocks[0](x), x + blocks[0].branch(x))
