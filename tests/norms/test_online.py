from __future__ import annotations

import copy
from contextlib import ExitStack

import pytest
import torch

from normlab.errors import DeviceUnavailable
from normlab.norms import fused_kernels
from normlab.norms.online import OnlineNorm, scale_layer
from tests.norms.golden import FOLDER, Golden
from tests.norms.online_loop import (
    STATE,
    both_dtypes,
    by_the_loop,
    drawn,
    every_compensation,
    perturbed,
    relative_error,
    state_of,
)

COMPENSATIONS = {"ls": "layer_scaling", "ac": "clamp", "none": "none"}


@both_dtypes
@pytest.mark.parametrize("file", sorted(p.stem for p in FOLDER.glob("online*.npz")))
def test_four_steps_match_the_authors_code(file: str, dtype: torch.dtype, tolerance: float) -> None:
    d = Golden(file, dtype)
    args = d.arguments["args"]
    layer = OnlineNorm(
        d["x"].shape[2],
        dims=1 if "1d" in file else 2,
        alpha_forward=args["alpha_fwd"],
        alpha_backward=args["alpha_bkw"],
        error_compensation=COMPENSATIONS[args["ecm"]],
    ).to(dtype)
    layer.load_state_dict(
        {"weight": d["weight"], "bias": d["bias"], **{k: d[f"state0_{k}"] for k in STATE}}
    )
    for t in range(len(d["x"])):
        x = d["x"][t].clone().requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(d["gy"][t])
        assert relative_error(y, d["y"][t]) < tolerance
        assert relative_error(x.grad, d["gx"][t]) < tolerance
        assert relative_error(layer.weight.grad, d["g_weight"][t]) < tolerance
        assert relative_error(layer.bias.grad, d["g_bias"][t]) < tolerance
        for name in STATE:
            assert relative_error(getattr(layer, name), d[f"state_{name}"][t]) < tolerance
    assert relative_error(layer.eval()(d["x_eval"]), d["y_eval"]) < tolerance


@pytest.mark.parametrize("size", [2, 3])
def test_layer_scaling_in_groups_matches_the_authors_code(size: int) -> None:
    d = Golden(f"layerscaling_g{size}")
    x = d["x"].requires_grad_()
    z = scale_layer(x, size)
    (gx,) = torch.autograd.grad(z, x, d["gy"])
    assert relative_error(z, d["y"]) < 1e-12
    assert relative_error(gx, d["gx"]) < 1e-12


@both_dtypes
@every_compensation
@pytest.mark.parametrize(
    "shape", [(1, 6), (33, 6), (130, 6), (3, 6, 7), (1, 6, 4, 4), (40, 6, 3, 5), (2, 6, 2, 2, 3)]
)
def test_a_batch_equals_the_loop_over_its_samples(
    shape: tuple[int, ...], how: str, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(len(shape))
    layer = perturbed(
        6, dtype, dims=max(1, len(shape) - 2), error_compensation=how, alpha_forward=0.97
    )
    for _ in range(3):
        x, g = drawn(shape, dtype)
        exact = copy.deepcopy(layer).double()
        expected = by_the_loop(exact, x.double(), g.double())
        x.requires_grad_()
        y = layer(x)
        layer.zero_grad()
        y.backward(g)
        found = [y, x.grad, layer.weight.grad, layer.bias.grad, *state_of(layer)]
        for a, b in zip(found, expected):
            assert relative_error(a.double(), b) < tolerance


@every_compensation
def test_data_larger_than_a_cache_slice_equal_the_loop(how: str) -> None:
    torch.manual_seed(0)
    layer = perturbed(6, error_compensation=how, clamp_value=1.0)
    x, g = drawn((7, 6, 60, 60))  # three samples per slice, and one left over
    expected = by_the_loop(copy.deepcopy(layer), x, g)
    x.requires_grad_()
    y = layer(x)
    y.backward(g)
    found = [y, x.grad, layer.weight.grad, layer.bias.grad, *state_of(layer)]
    for a, b in zip(found, expected):
        assert relative_error(a, b) < 1e-11


@pytest.mark.parametrize("size", [1, 2, 6])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4, 4)])
def test_layer_scaling_in_groups_equals_the_loop(size: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = perturbed(6, dims=max(1, len(shape) - 2), layer_scaling_group_size=size)
    x, g = drawn(shape)
    expected = by_the_loop(copy.deepcopy(layer), x, g)
    x.requires_grad_()
    y = layer(x)
    y.backward(g)
    found = [y, x.grad, layer.weight.grad, layer.bias.grad, *state_of(layer)]
    for a, b in zip(found, expected):
        assert relative_error(a, b) < 1e-11


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 5)])
@every_compensation
def test_without_affine_it_is_the_layer_with_weight_one_and_bias_zero(
    shape: tuple[int, ...], how: str
) -> None:
    torch.manual_seed(0)
    x, g = drawn(shape)
    results = []
    for affine in (False, True):
        layer = OnlineNorm(
            4, affine=affine, dims=max(1, len(shape) - 2), error_compensation=how
        ).double()
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(g)
        results.append([y, leaf.grad, *state_of(layer)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(50, 4), (50, 4, 3, 3)])
def test_a_batch_equals_its_samples_one_by_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    whole = perturbed(4, dims=max(1, len(shape) - 2))
    single = copy.deepcopy(whole)
    x, g = drawn(shape)
    y = whole(x)
    y.backward(g)
    for t in range(len(x)):
        out = single(x[t : t + 1])
        out.backward(g[t : t + 1])
        torch.testing.assert_close(out[0], y[t])
    for a, b in zip(state_of(whole), state_of(single)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.weight.grad, single.weight.grad)


def test_the_gradients_telescope_into_the_control_state() -> None:
    torch.manual_seed(0)
    layer = perturbed(4, error_compensation="none")
    _, _, u0, v0 = state_of(layer)
    along_one, along_y = torch.zeros(4).double(), torch.zeros(4).double()
    for _ in range(20):
        x, g = drawn((1, 4, 3, 3))
        x.requires_grad_()
        mu, var, u, _ = state_of(layer)
        layer(x).backward(g)
        s = (var + layer.eps).sqrt().view(4, 1, 1)
        y = (x.detach()[0] - mu.view(4, 1, 1)) / s
        first = s * (x.grad[0] + (1 - layer.options.alpha_backward) * u.view(4, 1, 1))
        along_one += x.grad[0].mean((1, 2))
        along_y += (first * y).mean((1, 2))
    torch.testing.assert_close(along_one, layer.u - u0)
    torch.testing.assert_close(along_y, layer.v - v0)


def test_a_long_run_normalizes_and_drives_the_gradient_off_mean_and_output() -> None:
    torch.manual_seed(0)
    layer = OnlineNorm(3, error_compensation="none", alpha_forward=0.99, alpha_backward=0.99)
    along_one, along_y, y = [], [], torch.empty(0)
    for _ in range(200):
        x = (3 * torch.randn(16, 3, 4, 4) + 5).requires_grad_()
        y = layer(x)
        y.backward(torch.randn_like(y) + 0.7 + 0.5 * y.detach())
        along_one.append(x.grad.mean((0, 2, 3)))
        along_y.append((x.grad * y.detach()).mean((0, 2, 3)))
    assert y.mean().abs() < 0.2
    assert y.std().item() == pytest.approx(1, abs=0.1)
    assert torch.stack(along_one[50:]).mean(0).abs().max() < 0.02
    assert torch.stack(along_y[50:]).mean(0).abs().max() < 0.02


@every_compensation
def test_later_samples_never_change_earlier_outputs(how: str) -> None:
    layer = perturbed(4, error_compensation=how)
    x, _ = drawn((6, 4, 3, 3))
    other = copy.deepcopy(layer)
    y = layer(x)
    x[4:] = float("nan")
    torch.testing.assert_close(other(x)[:4], y[:4])


def test_accumulated_micro_batches_equal_one_batch() -> None:
    torch.manual_seed(0)
    whole = perturbed(4)
    parts = copy.deepcopy(whole)
    x, g = drawn((12, 4, 3, 3))
    whole(x).backward(g)
    for start in range(0, 12, 4):
        parts(x[start : start + 4]).backward(g[start : start + 4])
    for a, b in zip(state_of(whole), state_of(parts)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.weight.grad, parts.weight.grad)


@both_dtypes
@pytest.mark.parametrize("form", ["stock", "compiled"])
@pytest.mark.parametrize(("a", "b"), [(63 / 64, 0.5), (511 / 512, 15 / 16), (0.9999389648, 0.9)])
@pytest.mark.parametrize("shape", [(33, 6), (8, 6, 3, 4)])
def test_a_long_run_with_other_decays_equals_the_loop(
    shape: tuple[int, ...], a: float, b: float, form: str, dtype: torch.dtype, tolerance: float
) -> None:
    try:
        kernels = ExitStack()
        kernels.enter_context(fused_kernels(form == "compiled"))
    except DeviceUnavailable as e:
        pytest.skip(str(e))
    with kernels:
        torch.manual_seed(7)
        layer = perturbed(6, dtype, dims=max(1, len(shape) - 2), alpha_forward=a, alpha_backward=b)
        exact = copy.deepcopy(layer).double()
        for _ in range(24):
            x, g = drawn(shape, dtype)
            *expected, exact.mu, exact.var, exact.u, exact.v = by_the_loop(
                exact, x.double(), g.double()
            )
            x.requires_grad_()
            layer.zero_grad()
            y = layer(x)
            y.backward(g)
            for one, other in zip([y, x.grad, layer.weight.grad, layer.bias.grad], expected):
                assert relative_error(one.double(), other) < tolerance
        for one, other in zip(state_of(layer), state_of(exact)):
            assert relative_error(one.double(), other) < tolerance
