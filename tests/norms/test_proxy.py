from typing import Optional

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from normlab.errors import InvalidSpec
from normlab.norms import make, proxy
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.channels import clamp_channels
from normlab.norms.per_sample import GroupNorm
from normlab.norms.proxy import ProxyNorm
from normlab.norms.rectified import Folded, relu_moments
from tests.norms.golden import Golden, assert_same

X = torch.linspace(-2, 2, 2 * 4 * 3 * 3).reshape(2, 4, 3, 3)


class AffineOnly(ActivationNorm):
    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        if weight is None or bias is None:
            return x
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * weight.view(shape) + bias.view(shape)


class AffineThenMore(AffineOnly):
    folds_affine = False


FILES = [
    ("pn_relu_n1", 0.03),
    ("pn_relu_n2", 0.03),
    ("pn_relu_n2_init", 0.03),
    ("pn_relu_n2_eps1e-5", 1e-5),
    ("pn_swish_n1", 0.03),
    ("pn_swish_n2", 0.03),
    ("pn_swish_n2_init", 0.03),
]
NAMES = {
    "beta": "bias",
    "gamma": "weight",
    "beta_prime": "proxy_bias",
    "gamma_prime": "proxy_weight",
}


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize("norm", [AffineOnly, AffineThenMore])
@pytest.mark.parametrize(("name", "eps"), FILES, ids=[name for name, _ in FILES])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_midpoint200_is_the_published_code(
    name: str,
    eps: float,
    norm: "type[AffineOnly]",
    plain: bool,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    golden = Golden(name, dtype)
    activation = "relu" if "relu" in name else "silu"
    inner = norm(golden["y_in"].shape[2], affine=False)
    inner.plain = plain
    layer = ProxyNorm(inner, activation, eps, "midpoint200").to(dtype)
    for t in range(golden["y_in"].shape[0]):
        for theirs, ours in NAMES.items():
            getattr(layer, ours).data.copy_(golden[f"param_{theirs}"][t])
        y = golden["y_in"][t].requires_grad_()
        layer.zero_grad()
        z = layer(y)
        z.backward(golden["gz"][t])
        assert_same(z, golden["z"][t], tolerance, "z")
        assert_same(y.grad, golden["gy_in"][t], tolerance, "gy")
        for theirs, ours in NAMES.items():
            parameter = getattr(layer, ours)
            decay = 0.01 if "prime" in theirs else 0.0
            total = parameter.grad + decay * parameter
            assert_same(total, golden[f"g_{theirs}"][t], tolerance, theirs)
        mean, inverse_std = layer.expectation()
        assert_same(mean, golden["param_proxy_mean"][t], tolerance, "mean")
        assert_same(inverse_std, golden["param_inv_proxy_std"][t], tolerance, "inverse std")


@pytest.mark.parametrize("center", [-3.0, -1.0, 0.0, 0.7, 5.0, 100.0])
@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0])
def test_relu_moments_match_an_integral(center: float, spread: float) -> None:
    y = np.linspace(-10, 10, 400_001)
    density = np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi) * (y[1] - y[0])
    phi = np.maximum(center + spread * y, 0)
    mean = (phi * density).sum()
    var = ((phi - mean) ** 2 * density).sum()
    found = relu_moments(torch.tensor(center).double(), torch.tensor(spread).double())
    assert found[0].item() == pytest.approx(mean, rel=1e-6, abs=1e-12)
    assert found[1].item() == pytest.approx(var, rel=1e-6, abs=1e-12)


def test_relu_moments_keep_their_digits_in_float32() -> None:
    _, var = relu_moments(torch.tensor(300.0), torch.tensor(0.5))
    assert var.item() == pytest.approx(0.25, rel=1e-6)


def test_relu_moments_without_spread_are_those_of_a_constant() -> None:
    center = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    spread = torch.zeros(3, requires_grad=True)
    mean, var = relu_moments(center, spread)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(var, torch.zeros(3))
    (mean + var).sum().backward()
    assert center.grad is not None
    assert center.grad.isfinite().all()
    assert spread.grad is not None
    assert spread.grad.isfinite().all()


def test_relu_moments_have_the_gradient_of_their_value() -> None:
    inputs = (torch.randn(7).double().requires_grad_(), torch.rand(7).double().requires_grad_())
    assert torch.autograd.gradcheck(relu_moments, inputs)


def test_the_folded_affine_has_the_gradients_of_its_value() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(9).double().requires_grad_() for _ in range(4)]
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda *p: Folded.apply(*p, 0.03), inputs)


def test_the_folded_affine_works_for_a_channel_without_spread() -> None:
    inputs = [torch.zeros(3, requires_grad=True) for _ in range(4)]
    sum(part.sum() for part in Folded.apply(*inputs, 0.03)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in inputs)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
def test_a_normal_input_comes_out_normalized(activation: str) -> None:
    torch.manual_seed(0)
    layer = make({"kind": "layer", "proxy": True, "proxy_eps": 1e-6}, 16, activation)
    layer.bias.data.uniform_(-1, 1)
    layer.weight.data.uniform_(0.5, 2)
    z = layer(torch.randn(16, 16, 64, 64))
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(16), atol=0.02, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3)), torch.ones(16), atol=0.05, rtol=0)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("kind", ["batch", "layer", "group", "instance"])
def test_gradients_are_those_of_the_value(kind: str, activation: str) -> None:
    torch.manual_seed(1)
    layer = make({"kind": kind, "proxy": True}, 4, activation).double()
    for parameter in layer.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(3, 4, 2, 3).double().requires_grad_()
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


def test_clamped_channels_have_the_same_gradient_in_both_forms() -> None:
    y = torch.randn(3, 5, 4, 4).double()
    g, floor = torch.randn_like(y), torch.randn(5).double()
    found = []
    for plain in (False, True):
        a, b = y.clone().requires_grad_(), floor.clone().requires_grad_()
        clamp_channels(a, b, plain).backward(g)
        found.append((a.grad, b.grad))
    torch.testing.assert_close(found[0], found[1])


def test_a_dead_channel_stays_finite() -> None:
    layer = make({"kind": "group", "groups": 2, "proxy": True}, 4, "relu")
    layer.bias.data.fill_(-100.0)
    z = layer(torch.randn(2, 4, 3, 3))
    z.sum().backward()
    assert z.abs().max() < 1e-3
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


def test_where_no_activation_follows_the_norm_keeps_a_scale_and_no_shift() -> None:
    layer = make({"kind": "group", "groups": 2, "proxy": True}, 4)
    assert [name for name, _ in layer.named_parameters()] == ["norm.weight"]


def test_a_norm_with_an_affine_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="holds the affine"):
        ProxyNorm(AffineOnly(4), "relu")


def test_an_unknown_activation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpec, match="'gelu', 'relu', 'silu'"):
        make("group", 4, "tanh")


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_a_delayed_scale_is_the_missing_factor(activation: str) -> None:
    torch.manual_seed(0)
    layers = [
        ProxyNorm(GroupNorm(6, 2, affine=False), activation, delay_scale=delayed).double()
        for delayed in (False, True)
    ]
    for layer in layers:
        layer.bias.data.fill_(0.3)
    x = torch.randn(2, 6, 4, 4).double()
    _, factor = layers[1].expectation()
    torch.testing.assert_close(layers[1](x) * factor.view(6, 1, 1), layers[0](x))


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("kind", ["group", "batch", "switchable", "l1_batch"])
def test_plain_operators_compute_the_same(kind: str, activation: str) -> None:
    torch.manual_seed(0)
    x, g = torch.randn(2, 5, 8, 4, 6, dtype=torch.float64)
    found = []
    for plain in (False, True):
        torch.manual_seed(1)
        layer = make({"kind": kind, "proxy": True}, 8, activation, plain=plain).double()
        for name, parameter in layer.named_parameters():
            if "norm" not in name:
                parameter.data.add_(0.4 * torch.randn_like(parameter))
        y = layer(x.clone().requires_grad_())
        y.backward(g)
        found.append([y.detach(), *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("quadrature", ["exact", "midpoint200"])
def test_the_quadrature_is_computed_once_and_has_the_same_bits(
    quadrature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy._kept_rule.cache_clear()
    layer = ProxyNorm(GroupNorm(4, 2, affine=False), "gelu", quadrature=quadrature)
    with torch.inference_mode():  # tensors of this mode cannot be saved for a backward pass
        layer(X)
    kept = proxy._rule(quadrature, layer.weight)
    fresh = proxy._computed_rule(quadrature, torch.float32, torch.device("cpu"))
    assert all(map(torch.equal, kept, fresh))
    monkeypatch.setattr(proxy, "_computed_rule", None)
    layer(X).sum().backward()
    assert layer.proxy_weight.grad is not None


def test_a_capture_neither_keeps_a_quadrature_nor_takes_a_kept_one() -> None:
    proxy._kept_rule.cache_clear()
    layer = ProxyNorm(GroupNorm(4, 2, affine=False), "silu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = proxy._rule("exact", torch.ones(4))
    torch.func.grad(lambda bias: torch.func.functional_call(layer, {"bias": bias}, X).sum())(
        layer.bias
    )
    meta = proxy._rule("exact", torch.ones(4, device="meta"))
    assert isinstance(fake[0], FakeTensor)
    assert meta[0].is_meta
    assert proxy._kept_rule.cache_info().currsize == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_quadrature_is_kept_for_each_type_of_number(dtype: torch.dtype) -> None:
    nodes, masses = proxy._rule("exact", torch.ones(1, dtype=dtype))
    assert (nodes.dtype, masses.dtype) == (dtype, dtype)
    assert proxy._rule("exact", torch.ones(3, dtype=dtype))[0] is nodes
