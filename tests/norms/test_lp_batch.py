from __future__ import annotations

import copy
from inspect import isfunction
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import deviation_norm
from normlab.norms.deviation_norm import DeviationBatchNorm
from normlab.norms.gaussian_extremes import expected_top_mean
from normlab.norms.lp_baselines import LpBatchNorm, MeanBatchNorm
from normlab.norms.lp_batch import L1BatchNorm, LinfBatchNorm, TopkBatchNorm
from tests.norms.golden import Golden

Make = Callable[..., DeviationBatchNorm]


def _top(k: int) -> Make:
    return lambda c, **options: TopkBatchNorm(c, k, **options)


def _lp(p: float) -> Make:
    return lambda c, **options: LpBatchNorm(c, p, **options)


EVERY: dict[str, Make] = {"l1": L1BatchNorm, "linf": LinfBatchNorm, "top5": _top(5)}
every_kind = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
both_forms = pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])


def _relative_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def _worst_error(layer: DeviationBatchNorm, d: Golden, weight: str, bias: str) -> float:
    layer.to(d["x"].dtype)
    layer.weight.data.copy_(d[weight])
    layer.bias.data.copy_(d[bias])
    errors = []
    for t in range(len(d["x"])):
        x = d["x"][t].clone().requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(d["gy"][t])
        errors += [_relative_error(y, d["y"][t]), _relative_error(x.grad, d["gx"][t])]
        errors.append(_relative_error(layer.weight.grad, d[f"g_{weight}"][t]))
        errors.append(_relative_error(layer.bias.grad, d[f"g_{bias}"][t]))
        errors.append(_relative_error(layer.running_mean, d["state_running_mean"][t]))
        if "state_running_var" in d:
            errors.append(_relative_error(layer.running_var, d["state_running_var"][t]))
    return max(errors)


@both_forms
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("file", "make"),
    [
        ("l1bn_n1", L1BatchNorm),
        ("l1bn_n2", L1BatchNorm),
        ("linf_top1_n1", LinfBatchNorm),
        ("linf_top1_n2", LinfBatchNorm),
        ("topk10_n1", _top(10)),
        ("topk10_n2", _top(10)),
        ("lp1_n2", _lp(1)),
        ("lp2_n1", _lp(2)),
        ("lp2_n2", _lp(2)),
    ],
)
def test_three_steps_match_the_authors_code(
    file: str, make: Make, dtype: torch.dtype, tolerance: float, plain: bool
) -> None:
    d = Golden(file, dtype)
    layer = make(d["x"].shape[2], running="reference")
    layer.plain = plain
    assert _worst_error(layer, d, "scale", "mean") < tolerance
    assert _relative_error(layer.eval()(d["x_eval"]), d["y_eval"]) < tolerance


@pytest.mark.parametrize("file", ["meanbn_l1_n1", "meanbn_l1_n2"])
def test_l1_without_eps_matches_the_authors_other_class(file: str) -> None:
    d = Golden(file)
    layer = L1BatchNorm(d["x"].shape[2], eps=1e-30, running="reference")
    assert _worst_error(layer, d, "weight", "bias") < 1e-12


def test_mean_only_batch_norm_matches_the_authors_code() -> None:
    d = Golden("meanbn_n2")
    layer = MeanBatchNorm(5, running="reference").double()
    layer.bias.data.copy_(d["bias"])
    for t in range(3):
        x = d["x"][t].clone().requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(d["gy"][t])
        assert _relative_error(y, d["y"][t]) < 1e-12
        assert _relative_error(x.grad, d["gx"][t]) < 1e-12
        assert _relative_error(layer.bias.grad, d["g_bias"][t]) < 1e-12
        assert _relative_error(layer.running_mean, d["state_running_mean"][t]) < 1e-12
    assert _relative_error(layer.eval()(d["x_eval"]), d["y_eval"]) < 1e-12


@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 4), (32, 1), (128, 10), (2048, 600)])
def test_the_expected_largest_deviations_are_those_of_drawn_samples(n: int, k: int) -> None:
    torch.manual_seed(0)
    draws = torch.randn(400_000 // n, n)
    means = draws.abs().topk(k, dim=1).values.mean(1)
    noise = means.std().item() / len(means) ** 0.5
    assert expected_top_mean(n, k) == pytest.approx(means.mean().item(), abs=4 * noise)


@every_kind
@pytest.mark.parametrize("shape", [(2, 40, 4, 4), (8, 40, 8, 8)])
def test_the_consistent_constant_gives_gaussian_data_unit_deviation(
    make: Make, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = make(40, constant="consistent")
    sigmas = []
    for _ in range(40):
        x = 3 * torch.randn(shape) + 1
        sigmas.append(x.std((0, 2, 3)) / layer(x).std((0, 2, 3)))  # the divisor
    assert torch.cat(sigmas).mean().item() / 3 == pytest.approx(1, abs=0.015)


def test_the_published_constant_overestimates_sigma_as_documented() -> None:
    torch.manual_seed(0)
    y = LinfBatchNorm(64)(torch.randn(64, 64, 32, 32))
    assert y.std().item() == pytest.approx(1 / 1.45, abs=0.03)


@every_kind
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 7), (3, 4, 8, 8), (6, 4, 3, 2, 2)])
@pytest.mark.parametrize("ghosts", [None, 3, 4])
def test_fast_and_plain_form_agree(make: Make, shape: tuple[int, ...], ghosts: int | None) -> None:
    torch.manual_seed(0)
    if ghosts is not None and len(shape) == 2:
        ghosts, shape = 3 * ghosts, (33, 4)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    fast = make(4, dims=max(1, len(shape) - 2), virtual_batch_size=ghosts).double()
    nn.init.normal_(fast.weight)
    plain = copy.deepcopy(fast)
    plain.plain = True
    results = []
    for layer in (fast, plain):
        y = layer(x)
        grads = torch.autograd.grad(y, [x, layer.weight, layer.bias], g)
        results.append([y, *grads, layer.running_mean, layer.running_var])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@every_kind
def test_gradients_match_finite_differences(make: Make) -> None:
    torch.manual_seed(0)
    layer = make(3, dims=1).double()
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


@every_kind
def test_large_inputs_are_cut_into_slices_that_change_nothing(make: Make) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 64, 24, 24, dtype=torch.float64)  # several slices; the last one is shorter
    layer = make(64).double()
    y = layer(x)
    layer.plain = True
    torch.testing.assert_close(y, layer(x), rtol=1e-12, atol=1e-12)


@every_kind
def test_ghost_batches_normalize_each_part_alone(make: Make) -> None:
    x = torch.randn(7, 4, 5, 5)
    y = make(4, virtual_batch_size=3)(x)
    for part in (slice(0, 3), slice(3, 6), slice(6, 7)):
        torch.testing.assert_close(y[part], make(4)(x[part]))


@every_kind
def test_ghost_batches_track_the_mean_over_their_samples(make: Make) -> None:
    x = torch.randn(7, 4, 5, 5)
    layer = make(4, virtual_batch_size=3, momentum=1.0)
    layer(x)
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)))


@every_kind
def test_output_ignores_scale_and_shift_of_the_input(make: Make) -> None:
    x = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    layer = make(6, eps=1e-12).double()
    torch.testing.assert_close(layer(1000 * x + 7), layer(x))


@every_kind
def test_evaluation_uses_what_training_tracked_and_changes_nothing(make: Make) -> None:
    torch.manual_seed(0)
    layer = make(6, momentum=1.0)
    x = torch.randn(16, 6, 8, 8)
    y = layer(x)
    before = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(layer.eval()(x), y)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_without_momentum_all_batches_weigh_the_same() -> None:
    batches = torch.randn(3, 8, 4, 5, 5)
    layer = L1BatchNorm(4, momentum=None)
    for x in batches:
        layer(x)
    torch.testing.assert_close(layer.running_mean, batches.mean((0, 1, 3, 4)))


def test_the_state_of_a_torch_batch_norm_loads() -> None:
    torch.manual_seed(0)
    theirs = nn.BatchNorm2d(4)
    theirs(5 * torch.randn(64, 4, 9, 9))
    ours = L1BatchNorm(4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-3, atol=1e-3)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(make: Make, dtype: torch.dtype) -> None:
    x = (300 * torch.randn(8, 4, 6, 6)).to(dtype).requires_grad_()
    layer = make(4)
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    torch.testing.assert_close(y, layer(x.float()).to(dtype))


@every_kind
def test_channels_last_stays_channels_last(make: Make) -> None:
    x = torch.randn(4, 6, 5, 5)
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    layer = make(6)
    y = layer(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, layer(x))
    (gx,) = torch.autograd.grad(y[:, :, 1:].square().sum(), last)
    torch.testing.assert_close(gx.shape, x.shape)


@every_kind
@both_forms
def test_constant_channels_stay_finite(make: Make, plain: bool) -> None:
    x = torch.randn(4, 3, 5, 5)
    x[:, 1] = 2.5
    x.requires_grad_()
    layer = make(3)
    layer.plain = plain
    y = layer(x)
    y.square().sum().backward()
    torch.testing.assert_close(y[:, 1], torch.zeros(4, 5, 5), rtol=0, atol=0.1)
    assert torch.isfinite(x.grad).all()


@every_kind
def test_a_large_offset_costs_few_digits(make: Make) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 4, 16, 16, dtype=torch.float64) + 1000
    exact = make(4).double()(x)
    torch.testing.assert_close(make(4)(x.float()).double(), exact, rtol=0, atol=1e-3)


@every_kind
def test_a_second_derivative_is_that_of_plain_operators(make: Make) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for plain in (False, True):
        layer = make(3).double()
        layer.plain = plain
        (gx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(gx.pow(3).sum(), [x, layer.weight]))
    torch.testing.assert_close(found[0], found[1])


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: L1BatchNorm(4, constant="best"), "constant: .*not 'best'"),
    (lambda: L1BatchNorm(4, running="fast"), "running: .*not 'fast'"),
    (lambda: TopkBatchNorm(4, 0), "k: .*not 0"),
    (lambda: LpBatchNorm(4, 0.5), r"p=0\.5"),
    (lambda: L1BatchNorm(4)(torch.randn(1, 4, 1, 1)), "one value for each channel"),
    (lambda: TopkBatchNorm(4, 10)(torch.randn(2, 4, 2, 2)), "use k <= 8"),
    (lambda: TopkBatchNorm(4, 9, virtual_batch_size=3)(torch.randn(5, 4, 2, 2)), "use k <= 8"),
]


@pytest.mark.parametrize(("ask", "message"), BAD)
def test_bad_options_and_inputs_are_named(ask: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        ask()


class _Halved(L1BatchNorm):
    """A layer of somebody else, which divides by half the deviation."""

    def factor(self, deviation: Tensor, n: int) -> Tensor:
        """Return twice the factor."""
        return 2 * super().factor(deviation, n)


METHODS = [name for name, value in vars(DeviationBatchNorm).items() if isfunction(value)]


@pytest.mark.parametrize("name", METHODS)
def test_a_fused_form_leaves_a_subclass_alone_that_changes_any_step_that_it_computes(
    name: str,
) -> None:
    kind = type("Mine", (L1BatchNorm,), {name: _changed})
    called = (*deviation_norm._CALLED_ANYWAY, "__init__")
    assert deviation_norm._is_known(kind) == (name in called)


def test_methods_that_fused_forms_call_exist() -> None:
    assert set(deviation_norm._CALLED_ANYWAY) <= set(METHODS)


def _changed(layer: Any, *given: Any) -> None:
    """Replace a method of a layer."""


def test_what_a_subclass_changes_is_computed_in_every_form(form: str) -> None:
    halved, usual = _Halved(3), L1BatchNorm(3)
    halved.plain = usual.plain = form == "plain"
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(halved(x), 2 * usual(x))
