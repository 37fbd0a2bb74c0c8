from __future__ import annotations

import copy
import subprocess
import sys
from collections import OrderedDict
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

import normlab
from normlab.errors import InvalidSpec
from normlab.norms import ProxyNorm, ScaleOnlyNorm, make
from normlab.norms.batch import BatchNorm
from normlab.norms.batch_renorm import BatchRenorm
from normlab.norms.conversion import convert
from normlab.norms.filter_response import FilterResponseNorm
from normlab.norms.lp_batch import L1BatchNorm
from normlab.norms.mean_square import RMSNorm
from normlab.norms.online import OnlineNorm
from normlab.norms.per_sample import GroupNorm, InstanceNorm, LayerNorm
from normlab.norms.token_norm import TokenNorm
from normlab.specs.normalizers import BY_KIND, parse_normalizer


class Block(nn.Module):
    """A typical residual block: the activation is applied in `forward`."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn(self.conv(x)))


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Block(8), nn.Flatten(), nn.Linear(128, 2)
    )


def _lived(layer: Any) -> Any:
    """*layer* with all numbers different from their initial values."""
    for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        if tensor is not None:
            tensor.data.uniform_(0.5, 1.5)
    return layer


OWN_ACTIVATION = [kind for kind in BY_KIND if parse_normalizer(kind).fuses_activation]


@pytest.mark.parametrize("kind", [k for k in BY_KIND if k not in OWN_ACTIVATION])
def test_every_kind_replaces_every_norm_of_a_network(kind: str) -> None:
    net = convert(_net(), kind)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    net(torch.randn(16, 3, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("kind", OWN_ACTIVATION)
def test_a_kind_with_an_activation_of_its_own_takes_the_place_of_both(kind: str) -> None:
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU())
    torch.manual_seed(0)
    nn.init.normal_(block[1].weight)
    affine = block[1].weight
    convert(block, kind)
    assert isinstance(block[2], nn.Identity)
    assert affine is dict(block.named_parameters())[_weight_of(block)]
    other = make(kind, 8, "gelu")
    other.load_state_dict(block[1].state_dict())
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block[1](x), other(x))


def _weight_of(block: nn.Module) -> str:
    return next(n for n, _ in block.named_parameters() if n.startswith("1.") and "weight" in n)


@pytest.mark.parametrize("kind", OWN_ACTIVATION)
def test_it_is_refused_where_the_activation_is_applied_by_hand(kind: str) -> None:
    with pytest.raises(InvalidSpec, match=r"3\.bn .*needs to see the activation"):
        convert(_net(), kind)


def test_a_threshold_can_be_left_out_so_that_the_activation_stays() -> None:
    with pytest.raises(InvalidSpec, match="set threshold to false"):
        convert(_net(), "filter_response")
    net = convert(_net(), {"kind": "filter_response", "threshold": False})
    assert isinstance(net[2], nn.ReLU)
    assert type(net[3].bn) is FilterResponseNorm


def test_what_an_activation_does_not_follow_says_what_is_left_of_it() -> None:
    found: list[Any] = []
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    convert(net, "evonorm_s0", report=found.append)
    said = "no activation follows, so this kind is only a scale and a shift here"
    assert said in found[0].converted[0].notes
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(net[1](x), x)


@pytest.mark.parametrize("training", [True, False])
def test_converting_to_the_same_kind_changes_no_output(training: bool) -> None:
    net = _net()
    for block in (net[1], net[3].bn):
        _lived(block).eps = 1e-3
    net.train(training)
    ours = convert(copy.deepcopy(net), "batch")
    x = torch.randn(16, 3, 6, 6)
    torch.testing.assert_close(ours(x), net(x))
    assert set(ours.state_dict()) == set(net.state_dict())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


SAME: list[tuple[Callable[[], nn.Module], Any, type, tuple[int, ...]]] = [
    (lambda: _lived(nn.BatchNorm1d(4)), "batch", BatchNorm, (5, 4)),
    (lambda: _lived(nn.BatchNorm3d(4)), "batch", BatchNorm, (5, 4, 2, 3, 2)),
    (lambda: nn.InstanceNorm1d(4, affine=True), "instance", InstanceNorm, (5, 4, 6)),
    (lambda: nn.InstanceNorm2d(4), "instance", InstanceNorm, (5, 4, 3, 3)),
    (lambda: nn.GroupNorm(2, 4), {"kind": "group", "groups": 2}, GroupNorm, (5, 4)),
    (lambda: nn.LayerNorm(4), "layer", TokenNorm, (5, 4)),
    (lambda: nn.LayerNorm([4, 3, 3]), "layer", LayerNorm, (5, 4, 3, 3)),
]


if hasattr(nn, "RMSNorm"):
    SAME += [
        (lambda: _scaled(nn.RMSNorm(8)), "rms", TokenNorm, (5, 3, 8)),
        (lambda: _scaled(nn.RMSNorm(8, eps=1e-2)), "rms", TokenNorm, (5, 8)),
        (lambda: nn.RMSNorm([4, 3, 3], elementwise_affine=False), "rms", RMSNorm, (5, 4, 3, 3)),
    ]


def _scaled(norm: nn.Module) -> nn.Module:
    nn.init.normal_(norm.weight)
    return norm


@pytest.mark.parametrize(("make_old", "normalizer", "kind", "shape"), SAME)
def test_each_torch_layer_becomes_its_equivalent(
    make_old: Callable[[], nn.Module], normalizer: Any, kind: type, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    old = make_old()
    new = convert(old, normalizer)
    assert type(new) is kind
    x = torch.randn(shape)
    torch.testing.assert_close(new(x), old(x))


def test_sync_batch_norm_takes_its_dimensions_from_the_convolutions() -> None:
    net = nn.Sequential(nn.Conv3d(2, 4, 1), nn.SyncBatchNorm(4), nn.GroupNorm(2, 4))
    convert(net, "instance")
    assert net[1].dims == net[2].dims == 3
    assert convert(nn.SyncBatchNorm(4), "batch", dims=2).dims == 2


def test_running_statistics_are_kept_in_kinds_that_have_them() -> None:
    old = _lived(nn.BatchNorm2d(4)).eval()
    x = torch.randn(2, 4, 3, 3)
    for kind, options in ((BatchRenorm, "batch_renorm"), (L1BatchNorm, "l1_batch")):
        new = convert(copy.deepcopy(old), options)
        assert type(new) is kind
        torch.testing.assert_close(new(x), old(x), rtol=2e-3, atol=2e-3)
    online = convert(old, {"kind": "online", "error_compensation": "none"})
    assert type(online) is OnlineNorm
    torch.testing.assert_close(online(x), old(x))


def test_dtype_training_mode_and_frozen_parameters_stay() -> None:
    old = nn.BatchNorm2d(4).double().eval()
    old.weight.requires_grad_(False)
    new = convert(old, "group")
    assert new.weight.dtype == torch.float64
    assert not new.training
    assert not new.weight.requires_grad
    assert new.bias.requires_grad


def test_options_that_are_set_win_over_the_layers() -> None:
    old = nn.BatchNorm2d(4, eps=1e-2, momentum=0.3, affine=False)
    kept = convert(old, "batch")
    assert (kept.eps, kept.momentum, kept.weight) == (1e-2, 0.3, None)
    given = convert(old, {"kind": "batch", "eps": 1e-4, "momentum": 0.5, "affine": True})
    assert (given.eps, given.momentum) == (1e-4, 0.5)
    assert given.weight is not None


def test_a_layer_in_two_places_stays_one_layer() -> None:
    norm = nn.BatchNorm2d(4)
    net = convert(nn.Sequential(norm, nn.Conv2d(4, 4, 1), norm), "group")
    assert net[0] is net[2]


def test_proxy_fuses_a_norm_with_the_activation_after_it() -> None:
    net = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 1),
            norm=_lived(nn.BatchNorm2d(4)),
            act=nn.SiLU(),
            last=nn.BatchNorm2d(4),
        )
    )
    weight = net.norm.weight.detach().clone()
    convert(net, {"kind": "group", "proxy": True})
    assert isinstance(net.norm, ProxyNorm)
    assert (net.norm.activation, type(net.act)) == ("silu", nn.Identity)
    torch.testing.assert_close(net.norm.weight, weight)
    assert isinstance(net.last, ScaleOnlyNorm)
    assert net(torch.randn(2, 3, 4, 4)).shape == (2, 4, 4, 4)


def test_proxy_names_the_norm_whose_activation_it_cannot_see() -> None:
    net = _net()
    with pytest.raises(InvalidSpec, match=r"3\.bn \(BatchNorm2d\): proxy=true needs to see"):
        convert(net, {"kind": "group", "proxy": True})
    assert isinstance(net[1], nn.BatchNorm2d)  # nothing changed
    convert(net, {"kind": "group", "proxy": True}, skip=["3.bn"])
    assert isinstance(net[1], ProxyNorm)
    assert isinstance(net[3].bn, nn.BatchNorm2d)


def test_kinds_for_weights_remove_the_norms() -> None:
    net = convert(_net(), "bounded_weight")
    assert isinstance(net[1], nn.Identity)
    assert "3.conv.parametrizations.weight.original" in net.state_dict()


class Widened(nn.BatchNorm2d):
    pass


def _uneven() -> nn.LayerNorm:
    norm = nn.LayerNorm([4, 3])
    nn.init.normal_(norm.weight)
    return norm


BAD: list[tuple[Callable[[], nn.Module], Any, str]] = [
    (_net, {"kind": "group", "groups": 3}, r"1 \(BatchNorm2d\).*groups=3 does not divide 8"),
    (lambda: nn.Sequential(Widened(4)), "group", r"0 \(Widened\): it is a subclass"),
    (lambda: nn.Linear(2, 2), "group", "Linear has no norm layer of torch"),
    (
        lambda: nn.Sequential(nn.LazyBatchNorm2d()),
        "group",
        r"0 \(LazyBatchNorm2d\).*run the model once",
    ),
    (_uneven, "layer", "affine differs between positions"),
    (
        lambda: nn.Sequential(nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 4)),
        "group",
        r"2 \(GroupNorm\).*\[1, 2\] dimensions; pass dims",
    ),
]


@pytest.mark.parametrize(("model", "normalizer", "message"), BAD)
def test_layers_that_cannot_be_converted_are_named(
    model: Callable[[], nn.Module], normalizer: Any, message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message):
        convert(model(), normalizer)


def test_it_is_in_the_package_and_importing_the_package_needs_no_torch() -> None:
    assert normlab.convert is convert
    code = "import normlab, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
