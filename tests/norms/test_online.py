from __future__ import annotations

import copy
import gc
import io
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab.errors import Conflict, DeviceUnavailable, InvalidSpec
from normlab.norms import fused_kernels
from normlab.norms.online import OnlineNorm, scale_layer
from tests.norms.golden import FOLDER, Golden

STATE = ("mu", "var", "u", "v")
COMPENSATIONS = {"ls": "layer_scaling", "ac": "clamp", "none": "none"}
every_compensation = pytest.mark.parametrize("how", COMPENSATIONS.values())
both_dtypes = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)


def _relative_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def _state(layer: OnlineNorm) -> list[Tensor]:
    return [getattr(layer, name).clone() for name in STATE]


def _drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(shape, dtype=dtype) * 2 + 0.5, torch.randn(shape, dtype=dtype)


def _perturbed(c: int, dtype: torch.dtype = torch.float64, **options: Any) -> OnlineNorm:
    """A layer within a training: no parameter or state has its initial value."""
    layer = OnlineNorm(c, **options).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(c).abs() + 0.2)
        layer.bias.copy_(0.3 * torch.randn(c))
        layer.mu.copy_(torch.randn(c))
        layer.var.copy_(torch.rand(c) + 0.5)
        layer.u.copy_(0.1 * torch.randn(c))
        layer.v.copy_(0.1 * torch.randn(c))
    return layer


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
        assert _relative_error(y, d["y"][t]) < tolerance
        assert _relative_error(x.grad, d["gx"][t]) < tolerance
        assert _relative_error(layer.weight.grad, d["g_weight"][t]) < tolerance
        assert _relative_error(layer.bias.grad, d["g_bias"][t]) < tolerance
        for name in STATE:
            assert _relative_error(getattr(layer, name), d[f"state_{name}"][t]) < tolerance
    assert _relative_error(layer.eval()(d["x_eval"]), d["y_eval"]) < tolerance


@pytest.mark.parametrize("size", [2, 3])
def test_layer_scaling_in_groups_matches_the_authors_code(size: int) -> None:
    d = Golden(f"layerscaling_g{size}")
    x = d["x"].requires_grad_()
    z = scale_layer(x, size)
    (gx,) = torch.autograd.grad(z, x, d["gy"])
    assert _relative_error(z, d["y"]) < 1e-12
    assert _relative_error(gx, d["gx"]) < 1e-12


def _by_the_loop(layer: OnlineNorm, x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """The equations of the paper, sample by sample, starting from the state of *layer*."""
    o = layer.options
    n, c = x.shape[:2]
    mu, var, u, v = _state(layer)
    w, b = layer.weight.detach().view(c, 1), layer.bias.detach().view(c, 1)
    ys, gxs, gw, gb, kept = [], [], torch.zeros(c).to(mu), torch.zeros(c).to(mu), []
    for sample in x.reshape(n, c, -1):
        s = (var + layer.eps).sqrt()
        y = (sample - mu.view(c, 1)) / s.view(c, 1)
        z = (w * y + b).requires_grad_()
        with torch.enable_grad():
            out = z
            if o.clamp is not None:
                out = z.clamp(-o.clamp, o.clamp)
            if o.group_size is not None:
                out = scale_layer(z.unsqueeze(0), o.group_size, o.scaling_eps).squeeze(0)
        ys.append(out.detach())
        kept.append((s, y, z, out))
        mean, spread = sample.mean(1), sample.var(1, correction=0)
        a = o.alpha_forward
        var = a * var + (1 - a) * spread + a * (1 - a) * (mean - mu).square()
        mu = mu + (1 - a) * (mean - mu)
    for (s, y, z, out), go in zip(kept, g.reshape(n, c, -1)):
        gz = go if out is z else torch.autograd.grad(out, z, go)[0]
        gw, gb = gw + (gz * y).sum(1), gb + gz.sum(1)
        beta = 1 - o.alpha_backward
        first = w * gz - beta * v.view(c, 1) * y
        v = v + (first * y).mean(1)
        second = first / s.view(c, 1) - beta * u.view(c, 1)
        u = u + second.mean(1)
        gxs.append(second)
    return torch.stack(ys).view_as(x), torch.stack(gxs).view_as(x), gw, gb, mu, var, u, v


@both_dtypes
@every_compensation
@pytest.mark.parametrize(
    "shape", [(1, 6), (33, 6), (130, 6), (3, 6, 7), (1, 6, 4, 4), (40, 6, 3, 5), (2, 6, 2, 2, 3)]
)
def test_a_batch_equals_the_loop_over_its_samples(
    shape: tuple[int, ...], how: str, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(len(shape))
    layer = _perturbed(
        6, dtype, dims=max(1, len(shape) - 2), error_compensation=how, alpha_forward=0.97
    )
    for _ in range(3):
        x, g = _drawn(shape, dtype)
        exact = copy.deepcopy(layer).double()
        expected = _by_the_loop(exact, x.double(), g.double())
        x.requires_grad_()
        y = layer(x)
        layer.zero_grad()
        y.backward(g)
        found = [y, x.grad, layer.weight.grad, layer.bias.grad, *_state(layer)]
        for a, b in zip(found, expected):
            assert _relative_error(a.double(), b) < tolerance


@every_compensation
def test_data_larger_than_a_cache_slice_equal_the_loop(how: str) -> None:
    torch.manual_seed(0)
    layer = _perturbed(6, error_compensation=how, clamp_value=1.0)
    x, g = _drawn((7, 6, 60, 60))  # three samples per slice, and one left over
    expected = _by_the_loop(copy.deepcopy(layer), x, g)
    x.requires_grad_()
    y = layer(x)
    y.backward(g)
    found = [y, x.grad, layer.weight.grad, layer.bias.grad, *_state(layer)]
    for a, b in zip(found, expected):
        assert _relative_error(a, b) < 1e-11


@pytest.mark.parametrize("size", [1, 2, 6])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4, 4)])
def test_layer_scaling_in_groups_equals_the_loop(size: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = _perturbed(6, dims=max(1, len(shape) - 2), layer_scaling_group_size=size)
    x, g = _drawn(shape)
    expected = _by_the_loop(copy.deepcopy(layer), x, g)
    x.requires_grad_()
    y = layer(x)
    y.backward(g)
    found = [y, x.grad, layer.weight.grad, layer.bias.grad, *_state(layer)]
    for a, b in zip(found, expected):
        assert _relative_error(a, b) < 1e-11


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 5)])
@every_compensation
def test_without_affine_it_is_the_layer_with_weight_one_and_bias_zero(
    shape: tuple[int, ...], how: str
) -> None:
    torch.manual_seed(0)
    x, g = _drawn(shape)
    results = []
    for affine in (False, True):
        layer = OnlineNorm(
            4, affine=affine, dims=max(1, len(shape) - 2), error_compensation=how
        ).double()
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(g)
        results.append([y, leaf.grad, *_state(layer)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(50, 4), (50, 4, 3, 3)])
def test_a_batch_equals_its_samples_one_by_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    whole = _perturbed(4, dims=max(1, len(shape) - 2))
    single = copy.deepcopy(whole)
    x, g = _drawn(shape)
    y = whole(x)
    y.backward(g)
    for t in range(len(x)):
        out = single(x[t : t + 1])
        out.backward(g[t : t + 1])
        torch.testing.assert_close(out[0], y[t])
    for a, b in zip(_state(whole), _state(single)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.weight.grad, single.weight.grad)


def test_the_gradients_telescope_into_the_control_state() -> None:
    torch.manual_seed(0)
    layer = _perturbed(4, error_compensation="none")
    _, _, u0, v0 = _state(layer)
    along_one, along_y = torch.zeros(4).double(), torch.zeros(4).double()
    for _ in range(20):
        x, g = _drawn((1, 4, 3, 3))
        x.requires_grad_()
        mu, var, u, _ = _state(layer)
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
    layer = _perturbed(4, error_compensation=how)
    x, _ = _drawn((6, 4, 3, 3))
    other = copy.deepcopy(layer)
    y = layer(x)
    x[4:] = float("nan")
    torch.testing.assert_close(other(x)[:4], y[:4])


def test_accumulated_micro_batches_equal_one_batch() -> None:
    torch.manual_seed(0)
    whole = _perturbed(4)
    parts = copy.deepcopy(whole)
    x, g = _drawn((12, 4, 3, 3))
    whole(x).backward(g)
    for start in range(0, 12, 4):
        parts(x[start : start + 4]).backward(g[start : start + 4])
    for a, b in zip(_state(whole), _state(parts)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.weight.grad, parts.weight.grad)


def test_evaluation_changes_no_state_even_between_forward_and_backward() -> None:
    torch.manual_seed(0)
    layer = _perturbed(4)
    undisturbed = copy.deepcopy(layer)
    x, g = _drawn((3, 4, 3, 3))
    undisturbed(x).backward(g)
    y = layer(x)
    before = _state(layer)
    layer.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(_state(layer), before))
    layer.train()
    y.backward(g)
    assert all(torch.equal(a, b) for a, b in zip(_state(layer), _state(undisturbed)))


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), OnlineNorm(4), nn.ReLU(), nn.Conv2d(4, 4, 1), OnlineNorm(4)
    ).double()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("segments", [1, 2])
def test_activation_checkpointing_gives_the_same_gradients_and_state(
    reentrant: bool, segments: int
) -> None:
    plain, saved = _net(), _net()
    for _ in range(3):
        x = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
        plain(x).square().sum().backward()
        y = x
        for part in [saved] if segments == 1 else [saved[:3], saved[3:]]:
            y = checkpoint(part, y, use_reentrant=reentrant)
        y.square().sum().backward()
    torch.testing.assert_close(plain.state_dict(), saved.state_dict())
    for a, b in zip(plain.parameters(), saved.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_checkpoint_of_another_forward_is_refused() -> None:
    layer = _perturbed(4)
    x, _ = _drawn((3, 4, 5, 5))
    x.requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    with torch.no_grad():
        layer(5 + x)
    with pytest.raises(Conflict, match="does not recompute the last training forward"):
        y.sum().backward()


def test_two_forwards_before_a_backward_are_refused_without_changing_the_control() -> None:
    layer = _perturbed(4)
    x, _ = _drawn((3, 4, 3, 3))
    loss = layer(x).sum() + layer(2 * x).sum()
    control = layer.u.clone(), layer.v.clone()
    with pytest.raises(Conflict, match=r"2 training forwards of OnlineNorm.* wait.*one batch"):
        loss.backward()
    assert torch.equal(layer.u, control[0])
    assert torch.equal(layer.v, control[1])


def test_the_older_of_two_forwards_is_refused_too() -> None:
    layer = _perturbed(4)
    x, _ = _drawn((3, 4, 3, 3))
    first = layer(x)
    second = layer(x)
    with pytest.raises(Conflict, match=r"under torch\.no_grad"):
        first.sum().backward()
    del second


def test_a_dropped_forward_does_not_block_the_next() -> None:
    layer = _perturbed(4)
    x, _ = _drawn((3, 4, 3, 3))
    y = layer(x)
    del y
    gc.collect()
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()


def test_a_second_backward_is_refused() -> None:
    layer = _perturbed(4)
    x, _ = _drawn((3, 4, 3, 3))
    y = layer(x).sum()
    y.backward(retain_graph=True)
    with pytest.raises(Conflict, match="a second backward through one forward"):
        y.backward()


def test_copies_and_saved_states_continue_alike() -> None:
    torch.manual_seed(0)
    layer = _perturbed(4)
    x, g = _drawn((3, 4, 3, 3))
    layer(x).backward(g)
    loaded = OnlineNorm(4).double()
    loaded.load_state_dict(layer.state_dict())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    pickled = torch.load(file, weights_only=False)
    copied = copy.deepcopy(layer)
    y = layer(x)
    y.backward(g)
    for other in (loaded, pickled, copied):
        z = other(x)
        z.backward(g)
        assert torch.equal(z, y)
        assert all(torch.equal(a, b) for a, b in zip(_state(layer), _state(other)))


def test_state_dict_holds_the_state_and_nothing_else() -> None:
    assert set(OnlineNorm(4).state_dict()) == {"weight", "bias", *STATE}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_keeps_float32_state(dtype: torch.dtype) -> None:
    layer = OnlineNorm(4)
    x = (100 * torch.randn(3, 4, 5, 5)).to(dtype).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert all(s.dtype == torch.float32 for s in _state(layer))
    layer.to(dtype)(x.detach())
    assert layer.mu.dtype == torch.float32


def test_autocast_computes_in_float32() -> None:
    layer, x = OnlineNorm(4), torch.randn(3, 4, 5, 5)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y, expected)


def test_channels_last_stays_channels_last() -> None:
    layer = _perturbed(4)
    x, g = _drawn((3, 4, 5, 5))
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = layer(last)
    y.backward(g)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert last.grad.is_contiguous(memory_format=torch.channels_last)


def test_an_empty_batch_changes_no_state() -> None:
    layer = _perturbed(4)
    before = _state(layer)
    assert layer(torch.empty(0, 4, 3, 3, dtype=torch.float64)).shape == (0, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(_state(layer), before))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"alpha_forward": 1.0}, r"alpha_forward: .*not 1\.0"),
    ({"alpha_backward": -0.1}, r"alpha_backward: .*not -0\.1"),
    ({"error_compensation": "ls"}, "error_compensation: .*not 'ls'"),
    ({"clamp_value": 0.0}, r"clamp_value: .*not 0\.0"),
    (
        {"layer_scaling_group_size": 3},
        "layer_scaling_group_size: groups of 3 channels do not divide 4",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        OnlineNorm(4, **options)


def test_plain_operators_cannot_train_it() -> None:
    layer = OnlineNorm(4)
    layer.plain = True
    with pytest.raises(InvalidSpec, match="control process and no derivative"):
        layer(torch.randn(2, 4, 3, 3))


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
        layer = _perturbed(6, dtype, dims=max(1, len(shape) - 2), alpha_forward=a, alpha_backward=b)
        exact = copy.deepcopy(layer).double()
        for _ in range(24):
            x, g = _drawn(shape, dtype)
            *expected, exact.mu, exact.var, exact.u, exact.v = _by_the_loop(
                exact, x.double(), g.double()
            )
            x.requires_grad_()
            layer.zero_grad()
            y = layer(x)
            y.backward(g)
            for one, other in zip([y, x.grad, layer.weight.grad, layer.bias.grad], expected):
                assert _relative_error(one.double(), other) < tolerance
        for one, other in zip(_state(layer), _state(exact)):
            assert _relative_error(one.double(), other) < tolerance
