from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms.weight import apply_weight_normalization, remove_weight_normalization
from tests.norms.golden import Golden

FIXED = {"kind": "bounded_weight", "rho": "mean"}
LEARNED = {"kind": "bounded_weight", "rho": "learned"}
EVERY = [
    {"kind": "weight"},
    {"kind": "bounded_weight"},
    {"kind": "bounded_weight", "p": "inf"},
    {"kind": "bounded_weight", "rho": "learned", "p": "inf"},
    {"kind": "bounded_weight", "renormalize": True},
    {"kind": "weight_standardized", "weight_eps": 1e-30},
    {"kind": "scaled_weight_standardized"},
    FIXED,
    LEARNED,
]
every_spec = pytest.mark.parametrize("spec", EVERY, ids=str)


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.LazyLinear(2)
    )


def _ready_net() -> nn.Sequential:
    net = _net()
    net(torch.zeros(1, 3, 4, 4))
    return net


def _lengths(w: Tensor) -> Tensor:
    return w.detach().flatten(1).norm(dim=1)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-12 * b.abs().max())


@pytest.mark.parametrize(
    ("file", "spec"),
    [
        ("weightnorm_torch_conv", {"kind": "weight"}),
        ("bwn_fixedrho_conv", FIXED),
        ("bwn_fixedrho_linear", {**FIXED, "include_linear": True}),
        ("bwn_g_conv", LEARNED),
        ("bwn_renorm_conv", {**FIXED, "renormalize": True}),
    ],
)
def test_five_steps_of_sgd_match_the_authors_code(file: str, spec: dict[str, Any]) -> None:
    d = Golden(file)
    layer: nn.Module = nn.Linear(7, 5) if file.endswith("linear") else nn.Conv2d(3, 5, 3, padding=1)
    layer.double()
    layer.weight.data.copy_(d["w_init"])
    layer.bias.data.copy_(d["bias_init"])
    apply_weight_normalization(layer, spec)
    parts: Any = layer.parametrizations.weight
    for length in parts.buffers():  # their numbers were rounded to float32
        (theirs,) = (v for k, v in d.items() if k.startswith("buf_"))
        torch.testing.assert_close(length, theirs, rtol=1e-6, atol=0)
        length.copy_(theirs)
    v = parts.original1 if hasattr(parts, "original1") else parts.original
    named = {"weight_v": v, "bias": layer.bias}
    if hasattr(parts, "original1"):
        named["weight_g"] = parts.original0
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for t in range(5):
        assert all(_close(p, d[f"param_{name}"][t]) for name, p in named.items())
        assert _close(layer.weight, d["w_eff"][t])
        x = d["x"][t].requires_grad_()
        y = layer(x)
        optimizer.zero_grad()
        y.backward(d["gy"][t])
        assert _close(y, d["y"][t])
        assert _close(x.grad, d["gx"][t])
        assert all(_close(p.grad, d[f"g_{name}"][t]) for name, p in named.items())
        optimizer.step()
        assert all(_close(p, d[f"after_{name}"][t]) for name, p in named.items())


def test_plain_weight_norm_starts_as_the_same_function() -> None:
    net, x = _ready_net(), torch.randn(2, 3, 4, 4)
    y = net(x)
    torch.testing.assert_close(apply_weight_normalization(net, "weight")(x), y)


def test_rms_gives_every_channel_the_same_share_of_the_frobenius_norm() -> None:
    net = _ready_net()
    before = net[0].weight.detach().clone()
    apply_weight_normalization(net, "bounded_weight")
    expected = before.norm() / 6**0.5
    torch.testing.assert_close(_lengths(net[0].weight), expected.expand(6))


@pytest.mark.parametrize("transposed", [False, True])
def test_infinity_norm_bounds_the_largest_absolute_weight(transposed: bool) -> None:
    torch.manual_seed(0)
    conv = nn.ConvTranspose1d(4, 6, 3) if transposed else nn.Conv1d(4, 6, 3)
    apply_weight_normalization(conv, {"kind": "bounded_weight", "p": "inf"})
    by_channel = conv.weight.transpose(0, 1) if transposed else conv.weight
    largest = by_channel.detach().abs().flatten(1).amax(1)
    torch.testing.assert_close(largest, largest[0].expand(6))


@pytest.mark.parametrize("spec", [{"kind": "bounded_weight"}, LEARNED], ids=str)
def test_training_cannot_change_the_total_length(spec: dict[str, Any]) -> None:
    net = apply_weight_normalization(_ready_net(), spec)
    total = net[0].weight.norm().item()
    optimizer = torch.optim.SGD(net[0].parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(5):
        net(torch.randn(4, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    assert net[0].weight.norm().item() == pytest.approx(total, rel=1e-5)


@every_spec
def test_gradients_are_orthogonal_to_the_stored_direction(spec: dict[str, Any]) -> None:
    net = apply_weight_normalization(_ready_net().double(), spec)
    net(torch.randn(2, 3, 4, 4).double()).square().sum().backward()
    parts: Any = net[0].parametrizations.weight
    v = parts.original1 if hasattr(parts, "original1") else parts.original
    along = (v * v.grad).flatten(1).sum(1)
    assert along.abs().max() < 1e-12 * v.grad.abs().max()


@every_spec
def test_state_dict_and_deepcopy_keep_the_function(spec: dict[str, Any]) -> None:
    x = torch.randn(2, 3, 4, 4)
    net = apply_weight_normalization(_ready_net(), spec)
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    y = net(x)
    torch.testing.assert_close(copy.deepcopy(net)(x), y)
    other = _ready_net()
    nn.init.normal_(other[0].weight)
    apply_weight_normalization(other, spec).load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x), y)


@every_spec
def test_removing_it_leaves_plain_weights_and_the_same_function(spec: dict[str, Any]) -> None:
    x, plain = torch.randn(2, 3, 4, 4), _ready_net()
    net = apply_weight_normalization(_ready_net(), spec)
    y = net(x)
    remove_weight_normalization(net)
    assert set(net.state_dict()) == set(plain.state_dict())
    torch.testing.assert_close(net(x), y)


def test_evaluation_changes_no_stored_weight() -> None:
    net = apply_weight_normalization(_ready_net(), {"kind": "bounded_weight", "renormalize": True})
    with torch.no_grad():
        net[0].parametrizations.weight.original.mul_(3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.eval()(torch.randn(2, 3, 4, 4))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.train()(torch.randn(2, 3, 4, 4))
    stored = net[0].parametrizations.weight.original
    torch.testing.assert_close(_lengths(stored), torch.ones(6))


def test_renormalizing_twice_before_a_backward_keeps_its_gradient() -> None:
    net = apply_weight_normalization(_ready_net(), {"kind": "bounded_weight", "renormalize": True})
    x = torch.randn(2, 3, 4, 4)
    y = net(x)
    net(x)
    y.sum().backward()
    assert torch.isfinite(net[0].parametrizations.weight.original.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_stay_half_and_finite(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(3, 6, 3)
    nn.init.constant_(conv.weight, 300.0)  # its sum of squares overflows float16
    apply_weight_normalization(conv.to(dtype), "bounded_weight")
    assert conv.weight.dtype == dtype
    assert torch.isfinite(conv.weight).all()


def test_kinds_for_activations_do_not_change_the_model() -> None:
    net = _ready_net()
    assert set(apply_weight_normalization(net, "group").state_dict()) == set(
        _ready_net().state_dict()
    )


def test_linear_layers_are_included_on_request() -> None:
    net = apply_weight_normalization(_ready_net(), {"kind": "weight", "include_linear": True})
    assert "4.parametrizations.weight.original0" in net.state_dict()


def test_weights_that_cannot_be_normalized_are_named() -> None:
    with pytest.raises(InvalidSpec, match="Linear has none; set include_linear"):
        apply_weight_normalization(nn.Linear(2, 2), "weight")
    net = apply_weight_normalization(_ready_net(), "weight")
    rule = r"0 \(ParametrizedConv2d\): its weight is normalized already"
    with pytest.raises(InvalidSpec, match=rule):
        apply_weight_normalization(net, "bounded_weight")
    net = _ready_net()
    nn.init.zeros_(net[2].weight)
    with pytest.raises(InvalidSpec, match=r"2 \(Conv2d\).*channel 0 are all zero"):
        apply_weight_normalization(net, "weight")
    assert "0.weight" in net.state_dict()  # refused before anything changed
    with pytest.raises(InvalidSpec, match="groups=2"):
        apply_weight_normalization(nn.ConvTranspose2d(4, 4, 3, groups=2), "weight")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("p", [2.0, float("inf")])
@pytest.mark.parametrize("rho", ["rms", "mean", "learned", "weight"])
def test_a_long_run_of_sgd_follows_the_formula(rho: str, p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    if rho == "weight" and p != 2:
        pytest.skip("plain weight norm has one norm")
    layer = nn.Conv2d(5, 12, 3, bias=False).double()
    v = layer.weight.detach().clone().requires_grad_()
    lengths = _norms(v, p).detach()
    g = lengths.clone().requires_grad_()
    total = lengths.norm()
    fixed = lengths.mean() if rho == "mean" else lengths.square().mean().sqrt()
    spec: dict[str, Any] = {"kind": "bounded_weight", "rho": rho, "p": "2" if p == 2 else "inf"}
    apply_weight_normalization(layer.to(dtype), "weight" if rho == "weight" else spec)
    optimizers = [torch.optim.SGD(each, lr=0.02) for each in ([v, g], layer.parameters())]
    for _ in range(30):
        x, gy = torch.randn(9, 5, 6, 6), torch.randn(9, 12, 4, 4)
        length = {"weight": g, "learned": g * total / g.norm()}.get(rho, fixed)
        expected = torch.conv2d(x.double(), v / _norms(v, p) * length)
        y = layer(x.to(dtype))
        for optimizer, out in zip(optimizers, (expected, y)):
            optimizer.zero_grad()
            out.backward(gy.to(out.dtype) / 100)
            optimizer.step()
        error = (y.double() - expected).abs().max() / expected.abs().max()
        assert error < (1e-11 if dtype == torch.float64 else 1e-5)


def _norms(v: Tensor, p: float) -> Tensor:
    rows = v.flatten(1).abs()
    norms = rows.square().sum(1).sqrt() if p == 2 else rows.amax(1)
    return norms.view(-1, 1, 1, 1)
