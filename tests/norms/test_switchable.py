import pytest
import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import make, set_training_progress
from normlab.norms.switchable import SwitchableNorm
from tests.norms.golden import Golden, assert_same

REFERENCE = {"kind": "switchable", "unbiased_reference": True}
FILES = [
    ("sn1d_n2", {**REFERENCE, "momentum": 0.003}),
    ("sn2d_n1", REFERENCE),
    ("sn2d_n2", REFERENCE),
    ("sn2d_n2_momentum997", {**REFERENCE, "momentum": 0.003, "eps": 1e-3}),
]


def load(layer: torch.nn.Module, golden: Golden, suffix: str = "") -> None:
    with torch.no_grad():
        for name in ("weight", "bias", "mean_weight", "var_weight"):
            own = getattr(layer, name)
            own.copy_(
                golden[name + suffix if name.endswith("_weight") else name].reshape(own.shape)
            )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("plain", [False, True], ids=["engine", "plain"])
@pytest.mark.parametrize(("name", "spec"), FILES, ids=[name for name, _ in FILES])
def test_it_matches_the_authors_code(
    name: str, spec: "dict[str, object]", plain: bool, dtype: torch.dtype, tolerance: float
) -> None:
    golden = Golden(name, dtype)
    x0 = golden["x"]
    layer = make(spec, x0.shape[2], dims=max(1, x0.dim() - 3), plain=plain).to(dtype)
    load(layer, golden)
    for buffer in ("running_mean", "running_var"):
        getattr(layer, buffer).copy_(golden[f"state0_{buffer}"].flatten())
    for t in range(x0.shape[0]):
        check_step(layer, golden, t, tolerance)
        for buffer in ("running_mean", "running_var"):
            assert_same(getattr(layer, buffer), golden[f"state_{buffer}"][t], tolerance, buffer)
    assert_same(layer.eval()(golden["x_eval"]), golden["y_eval"], tolerance, "y_eval")


def check_step(layer: torch.nn.Module, golden: Golden, t: int, tolerance: float) -> None:
    layer.zero_grad()
    x = golden["x"][t].requires_grad_()
    y = layer(x)
    y.backward(golden["gy"][t])
    assert x.grad is not None
    assert_same(y, golden["y"][t], tolerance, "y")
    assert_same(x.grad, golden["gx"][t], tolerance, "gx")
    for name in ("weight", "bias", "mean_weight", "var_weight"):
        parameter = getattr(layer, name)
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = golden[f"g_{name}"][t]
        assert_same(grad, expected, tolerance, name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize("plain", [False, True], ids=["engine", "plain"])
@pytest.mark.parametrize("name", ["ssn2d_n1", "ssn2d_n2"])
def test_the_sparse_form_matches_the_authors_code(
    name: str, plain: bool, dtype: torch.dtype, tolerance: float
) -> None:
    golden = Golden(name, dtype)
    spec = {"kind": "sparse_switchable", "variant": "reference", "unbiased_reference": True}
    layer = make(spec, golden["x"].shape[2], plain=plain).to(dtype)
    load(layer, golden, "_init")
    layer.running_var.zero_()
    for t in range(golden["x"].shape[0]):
        layer.radius.copy_(golden["radius"][t].float())  # as stored by the reference
        check_step(layer, golden, t, tolerance)
        p, q = layer.ratios(layer.mean_weight, layer.var_weight)
        assert_same(p, golden["ratio_mean"][t], tolerance, "ratio_mean")
        assert_same(q, golden["ratio_var"][t], tolerance, "ratio_var")
        fixed = torch.stack([layer.mean_fixed, layer.var_fixed])
        assert torch.equal(fixed, golden["fixed"][t].bool())
        for buffer in ("running_mean", "running_var"):
            assert_same(getattr(layer, buffer), golden[f"state_{buffer}"][t], tolerance, buffer)
    assert_same(layer.eval()(golden["x_eval"]), golden["y_eval"], tolerance, "y_eval")
    assert_same(layer.mean_weight, golden["mean_weight_final"], tolerance)
    assert_same(layer.var_weight, golden["var_weight_final"], tolerance)


def only(choice: str) -> "tuple[SwitchableNorm, Tensor]":
    layer = SwitchableNorm(4)
    with torch.no_grad():
        for logits in (layer.mean_weight, layer.var_weight):
            logits.fill_(-50.0)
            logits[layer.choices.index(choice)] = 50.0
    return layer, torch.randn(3, 4, 5, 5)


@pytest.mark.parametrize("choice", ["instance", "layer", "batch"])
def test_a_single_choice_equals_that_normalizer(choice: str) -> None:
    layer, x = only(choice)
    torch.testing.assert_close(layer(x), make(choice, 4)(x))


def test_one_position_and_biased_variances_stay_finite() -> None:
    y = make("switchable", 6)(torch.randn(4, 6, 1, 1))
    assert y.isfinite().all()


def test_one_position_and_unbiased_variances_are_refused() -> None:
    layer = make(REFERENCE, 6)
    with pytest.raises(InvalidSpec, match="unbiased_reference=False"):
        layer(torch.randn(4, 6, 1, 1))


def test_layer_statistics_alone_are_not_a_mixture() -> None:
    with pytest.raises(InvalidSpec, match="use kind 'layer'"):
        make({"kind": "switchable", "batch_statistics": False}, 6, dims=1)


@pytest.mark.parametrize("kind", ["switchable", "sparse_switchable"])
def test_without_batch_statistics_training_equals_evaluation(kind: str) -> None:
    layer = make({"kind": kind, "batch_statistics": False}, 6)
    x = torch.randn(4, 6, 3, 3)
    y = layer(x)
    torch.testing.assert_close(layer.eval()(x), y)
    assert layer.num_batches_tracked == 0


def test_sparse_ratios_become_one_hot_as_the_run_progresses() -> None:
    layer = make("sparse_switchable", 4)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([1.0, 1.2, 0.9]))
        layer.var_weight.copy_(torch.tensor([1.0, 0.8, 1.1]))
    x = torch.randn(3, 4, 5, 5)
    set_training_progress(layer, 0.3)
    layer(x)
    assert not layer.mean_fixed
    set_training_progress(layer, 0.9)
    y = layer(x)
    assert layer.mean_fixed
    assert layer.var_fixed
    assert layer.mean_weight.tolist() == [0.0, 1.0, 0.0]
    assert layer.var_weight.tolist() == [0.0, 0.0, 1.0]
    m, v = x.mean((1, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(y, (x - m) * (v + 1e-5).rsqrt())


def test_frozen_ratios_no_longer_learn() -> None:
    layer = make({"kind": "sparse_switchable", "radius": 1.0}, 4)
    layer(torch.randn(3, 4, 5, 5)).sum().backward()
    assert layer.mean_weight.grad is None
    assert layer.var_weight.grad is None


def test_frozen_ratios_skip_unused_statistics() -> None:
    layer = make({"kind": "sparse_switchable", "radius": 1.0}, 4)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([2.0, 1.0, 0.0]))
        layer.var_weight.copy_(torch.tensor([1.0, 2.0, 0.0]))
    x = torch.randn(3, 4, 5, 5)
    layer(x)
    candidates = layer._candidates(x.mean((2, 3)), x.var((2, 3)), 25, running=None)
    assert set(candidates) == {"instance", "layer"}


def test_evaluation_never_freezes() -> None:
    layer = make({"kind": "sparse_switchable", "radius": 1.0}, 4).eval()
    layer(torch.randn(3, 4, 5, 5))
    assert not layer.mean_fixed


@pytest.mark.parametrize("kind", ["switchable", "sparse_switchable"])
def test_the_batch_average_is_over_all_batches_as_one(kind: str) -> None:
    torch.manual_seed(0)
    layer = make({"kind": kind, "running": "average"}, 5).double()
    batches = 3 + torch.randn(6, 4, 5, 3, 3, dtype=torch.float64)
    means, seconds = torch.zeros(5).double(), torch.zeros(5).double()
    for x in batches:  # the sums that the authors' code accumulates
        layer(x)
        m = x.mean((0, 2, 3))
        means += m
        seconds += m.square() + x.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(layer.running_mean, means / 6)
    torch.testing.assert_close(layer.running_var, seconds / 6 - (means / 6).square())
