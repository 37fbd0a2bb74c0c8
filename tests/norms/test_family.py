"""Property tests of the family: for every normalizer, or for all that state a property."""

import copy
import io
from typing import Any, Dict, List

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND

KINDS = list(norms.LAYERS)
OPTIONS: Dict[str, Dict[str, Any]] = {
    "group": {"groups": 2},
    "topk_batch": {"k": 3},
    "meta": {"samples": "batch"},
    "evonorm_s0": {"groups": 2},
}
BRINGS = {"evonorm_s0": "relu"}  # what is an activation as well, and without one just an affine
STATELESS = [k for k in KINDS if not BY_KIND[k].stateful]
SAMPLE_ALONE = [k for k in STATELESS if not BY_KIND[k].batch_dependent]
TAKES_PROXY = [k for k in KINDS if "proxy" in BY_KIND[k].model_fields]
BATCH_DEPENDENT = [k for k in KINDS if BY_KIND[k].batch_dependent]
HAS_PLAIN = [k for k in KINDS if k != "online"]  # its backward pass is not a gradient
# A sample affects only later samples, in the order of the batch.
IN_ORDER = ["online"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def spec(kind: str, **more: Any) -> Dict[str, Any]:
    return {"kind": kind, **OPTIONS.get(kind, {}), **more}


def layer_of(kind: str, channels: int = 8, **more: Any) -> nn.Module:
    """Build a layer whose parameters and state are not the initial ones."""
    torch.manual_seed(7)
    dims = more.pop("dims", 2)
    layer = make(spec(kind, **more), channels, BRINGS.get(kind), dims)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "gate" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in layer.named_buffers():
            if name in ("running_mean", "mu"):
                buffer.uniform_(-0.2, 0.2)
    return layer


def shape(dims: int, n: int = 4, c: int = 8) -> List[int]:
    return [n, c, *[[6], [5, 3], [3, 2, 4]][dims - 1]]


@every_kind
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_shape_is_kept_in_one_two_and_three_dimensions(kind: str, dims: int) -> None:
    layer = layer_of(kind, dims=dims)
    x = torch.randn(shape(dims), requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# What takes its statistics over the positions of one channel of one sample.
OVER_POSITIONS = ("instance", "filter_response")


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in OVER_POSITIONS])
def test_vectors_are_normalized_too(kind: str) -> None:
    x = torch.randn(6, 8, requires_grad=True)
    y = layer_of(kind, dims=1)(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_dtype_of_the_input_is_kept(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, wide = layer_of(kind), torch.randn(4, 8, 5, 3)
    exact = copy.deepcopy(layer)(wide.to(dtype).float())
    x = wide.to(dtype).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype
    torch.testing.assert_close(y.float(), exact, rtol=2e-2, atol=2e-2)


@every_kind
def test_a_layer_in_half_precision_works_as_a_whole(kind: str) -> None:
    layer = layer_of(kind).to(torch.bfloat16)
    x = torch.randn(4, 8, 5, 3, dtype=torch.bfloat16, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


@every_kind
def test_statistics_stay_exact_under_autocast(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(4, 8, 5, 3)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x), expected)


@every_kind
def test_half_precision_does_not_overflow(kind: str) -> None:
    x = (30000 + 100 * torch.randn(4, 8, 5, 3)).half()  # squares exceed the range of half precision
    assert layer_of(kind)(x).isfinite().all()


@every_kind
@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_stays_so_and_computes_the_same(kind: str, dims: int) -> None:
    fmt = torch.channels_last if dims == 2 else torch.channels_last_3d
    layer = layer_of(kind, dims=dims)
    other = copy.deepcopy(layer)
    x, g = torch.randn(shape(dims)), torch.randn(shape(dims))
    a, b = x.clone().requires_grad_(), x.contiguous(memory_format=fmt).requires_grad_()
    y, z = layer(a), other(b)
    y.backward(g)
    z.backward(g.contiguous(memory_format=fmt))
    assert z.is_contiguous(memory_format=fmt)
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(b.grad, a.grad)


@every_kind
def test_evaluation_changes_no_state(kind: str) -> None:
    layer = layer_of(kind).eval()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    x = torch.randn(4, 8, 5, 3, requires_grad=True)
    layer(x).sum().backward()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kind", STATELESS)
def test_stateless_kinds_train_as_they_evaluate(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(4, 8, 5, 3)
    y = layer(x)
    torch.testing.assert_close(layer.eval()(x), y)


@pytest.mark.parametrize("kind", [k for k in KINDS if BY_KIND[k].stateful])
def test_stateful_kinds_change_their_state_in_training(kind: str) -> None:
    layer = layer_of(kind)
    before = {k: v.clone() for k, v in layer.named_buffers()}
    layer(torch.randn(4, 8, 5, 3))
    assert any(not torch.equal(v, before[k]) for k, v in layer.named_buffers())


@every_kind
def test_the_same_input_gives_the_same_output(kind: str) -> None:
    layer = layer_of(kind)
    other, x = copy.deepcopy(layer), torch.randn(4, 8, 5, 3)
    assert torch.equal(layer(x), other(x))


@every_kind
def test_a_layer_goes_through_a_state_dict_and_a_file(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(4, 8, 5, 3)
    layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = make(spec(kind), 8, BRINGS.get(kind))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(x), layer.eval()(x))


def run(layer: nn.Module, x: Tensor, g: Tensor) -> "tuple[Tensor, Tensor]":
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("kind", SAMPLE_ALONE)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    y, gx = run(layer_of(kind), x, g)
    alone = run(layer_of(kind), x[2:3], g[2:3])
    torch.testing.assert_close(alone[0], y[2:3])
    torch.testing.assert_close(alone[1], gx[2:3])


@pytest.mark.parametrize("kind", [k for k in IN_ORDER if k in KINDS])
def test_samples_in_order_do_not_depend_on_later_ones(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    y, gx = run(layer_of(kind), x, g)
    first = run(layer_of(kind), x[:3], g[:3])
    torch.testing.assert_close(first[0], y[:3])
    torch.testing.assert_close(first[1], gx[:3])


@pytest.mark.parametrize("kind", BATCH_DEPENDENT)
def test_batch_dependent_kinds_depend_on_the_rest_of_the_batch(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    y = layer_of(kind)(x)
    alone = layer_of(kind)(x[2:3])
    assert not torch.allclose(alone, y[2:3], atol=1e-3)


@pytest.mark.parametrize("kind", [*SAMPLE_ALONE, "meta"])
def test_nan_in_one_sample_stays_there(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    x[1, 2, 3, 0] = torch.nan
    options = {"samples": "own"} if kind == "meta" else {}
    y, gx = run(layer_of(kind, **options), x, torch.randn_like(x))
    others = [0, 2, 3]
    assert y[others].isfinite().all()
    assert gx[others].isfinite().all()
    assert not y[1].isfinite().all()


@pytest.mark.parametrize("kind", HAS_PLAIN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_plain_operators_compute_the_same(kind: str, dtype: torch.dtype) -> None:
    layer = layer_of(kind).to(dtype)
    plain = norms.plain_operators(copy.deepcopy(layer))
    x, g = torch.randn(4, 8, 5, 3, dtype=dtype), torch.randn(4, 8, 5, 3, dtype=dtype)
    for found, expected in zip(run(plain, x, g), run(layer, x, g)):
        torch.testing.assert_close(found, expected)
    for a, b in zip(plain.parameters(), layer.parameters()):
        torch.testing.assert_close(a.grad, b.grad)
    for c, d in zip(plain.buffers(), layer.buffers()):
        torch.testing.assert_close(c, d)


@pytest.mark.parametrize("kind", HAS_PLAIN)
def test_plain_operators_have_no_custom_function(kind: str) -> None:
    proxy = {"proxy": True} if kind in TAKES_PROXY else {}
    layer = norms.plain_operators(make(spec(kind, **proxy), 8, "relu"))
    y = layer(torch.randn(4, 8, 5, 3, requires_grad=True))
    seen, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    custom = [n for n in seen if isinstance(n, torch.autograd.function.BackwardCFunction)]
    # streaming has a custom backward pass; the catalogue says that it does not run on an IPU
    assert bool(custom) == (kind == "streaming")


# Renormalization stops gradients; streaming and online replace them.
NO_TRUE_GRADIENT = {"batch_renorm", "streaming", "online"}
TRUE_GRADIENT = [k for k in KINDS if k not in NO_TRUE_GRADIENT]


@pytest.mark.parametrize("kind", TRUE_GRADIENT)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradients_are_those_of_the_output(kind: str, training: bool) -> None:
    layer = layer_of(kind, 4).double().train(training)
    parameters = [p for name, p in layer.named_parameters() if "gate" not in name]
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


@pytest.mark.parametrize("kind", TRUE_GRADIENT)
@pytest.mark.parametrize("size", [(4, 4), (2, 4, 5), (2, 4, 2, 1, 3)], ids=str)
def test_gradients_are_those_of_the_output_in_one_and_three_dimensions(
    kind: str, size: "tuple[int, ...]"
) -> None:
    if kind in OVER_POSITIONS and len(size) == 2:
        pytest.skip("one position has no spread")
    layer = layer_of(kind, 4, dims=max(1, len(size) - 2)).double()
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    parameters = [p for name, p in layer.named_parameters() if "gate" not in name]
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


@pytest.mark.parametrize(
    "kind", [k for k in TRUE_GRADIENT if k not in ("l1_batch", "linf_batch", "topk_batch")]
)
def test_gradients_can_be_differentiated_again(kind: str) -> None:
    layer = layer_of(kind, 4).double()
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


BATCH_LIKE = [
    k
    for k in KINDS
    if k in ("batch", "batch_renorm", "l1_batch", "linf_batch", "topk_batch", "instance")
]


@pytest.mark.parametrize("kind", BATCH_LIKE)
def test_channels_may_be_scaled_and_shifted_freely(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    scale, shift = 1 + 9 * torch.rand(8, 1, 1), torch.randn(8, 1, 1)
    layer, other = make(spec(kind), 8), make(spec(kind), 8)
    torch.testing.assert_close(layer(scale * x + shift), other(x), rtol=1e-3, atol=1e-3)


# What takes no mean off, so that a shift stays.
NOT_CENTRED = ("rms", "filter_response")
WITHOUT_STATISTICS = ("dyt",)
CENTRED = [
    k
    for k in (*SAMPLE_ALONE, "meta", "switchable")
    if k not in (*NOT_CENTRED, *WITHOUT_STATISTICS, *BRINGS)
]


@pytest.mark.parametrize("kind", [k for k in NOT_CENTRED if k in KINDS])
def test_a_common_scale_makes_no_difference_where_a_shift_does(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    layer = make(spec(kind), 8)
    torch.testing.assert_close(layer(50 * x), layer(x), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(layer(x + 3), layer(x), atol=0.1)


@pytest.mark.parametrize("kind", WITHOUT_STATISTICS)
def test_a_value_does_not_feel_any_other(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    y, gx = run(layer_of(kind), x, g)
    alone = run(layer_of(kind), x[:, :, 2:3, 1:2], g[:, :, 2:3, 1:2])
    torch.testing.assert_close(alone[0], y[:, :, 2:3, 1:2])
    torch.testing.assert_close(alone[1], gx[:, :, 2:3, 1:2])


@pytest.mark.parametrize("kind", CENTRED)
def test_a_common_scale_and_shift_make_no_difference(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    layer, other = make(spec(kind), 8), make(spec(kind), 8)
    torch.testing.assert_close(layer(50 * x + 3), other(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ("batch", "instance")])
def test_every_channel_ends_with_mean_zero_and_variance_one(kind: str) -> None:
    y = make(spec(kind), 8)(3 + 2 * torch.randn(16, 8, 9, 9))
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)


@every_kind
def test_constant_channels_stay_finite(kind: str) -> None:
    x = torch.full((4, 8, 5, 3), 2.5)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "online"])
def test_a_mean_of_a_thousand_deviations_costs_few_digits(kind: str) -> None:
    x = 1000 + torch.randn(4, 8, 16, 16)
    torch.testing.assert_close(
        make(spec(kind), 8, BRINGS.get(kind))(x).double(),
        make(spec(kind), 8, BRINGS.get(kind)).double()(x.double()),
        atol=5e-3,
        rtol=5e-3,
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if k in OVER_POSITIONS])
def test_one_value_for_each_channel_of_a_sample_is_refused_with_another_kind(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="another kind"):
        layer_of(kind)(torch.randn(6, 8, 1, 1))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in OVER_POSITIONS])
def test_maps_of_one_position_are_normalized(kind: str) -> None:
    x = torch.randn(6, 8, 1, 1)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()


@every_kind
def test_a_batch_of_one_sample_is_normalized(kind: str) -> None:
    x = torch.randn(1, 8, 5, 3)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()


@every_kind
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_no_samples_passes_and_changes_no_state(kind: str, training: bool) -> None:
    layer = layer_of(kind).train(training)
    before = {k: v.clone() for k, v in layer.named_buffers()}
    x = torch.randn(0, 8, 5, 3, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.shape
    assert all(torch.equal(v, before[k]) for k, v in layer.named_buffers())


ONE_VALUE = ("batch", "batch_renorm", "streaming", "l1_batch", "linf_batch", "topk_batch", "meta")


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ONE_VALUE])
def test_one_value_for_each_channel_is_refused_in_training(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(1, 8, 1, 1)
    with pytest.raises(InvalidSpec):
        layer(x)
    assert layer.eval()(x).isfinite().all()


@every_kind
@pytest.mark.parametrize("bad", [(4, 8), (4, 8, 5), (4, 7, 5, 3), (4, 8, 5, 3, 2)])
def test_another_shape_is_refused_with_the_right_one(kind: str, bad: "tuple[int, ...]") -> None:
    with pytest.raises(InvalidSpec, match=r"it takes \(N, C, H, W\) with C = 8"):
        layer_of(kind)(torch.zeros(bad))


@every_kind
def test_integers_are_refused(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="convert it to float"):
        layer_of(kind)(torch.zeros(4, 8, 5, 3, dtype=torch.long))


HAVE_EPS = [k for k in KINDS if "eps" in BY_KIND[k].model_fields]
BAD: List[Dict[str, Any]] = [{"num_features": 0}, {"eps": 0.0}, {"dims": 4}]


@pytest.mark.parametrize(
    ("kind", "bad"), [(k, bad) for bad in BAD for k in (HAVE_EPS if "eps" in bad else KINDS)]
)
def test_arguments_out_of_range_are_refused_at_construction(
    kind: str, bad: "dict[str, Any]"
) -> None:
    with pytest.raises(InvalidSpec):
        norms.LAYERS[kind](**{"num_features": 8, **OPTIONS.get(kind, {}), **bad})


def test_every_activation_kind_of_the_specs_has_a_layer() -> None:
    expected = {k for k, s in BY_KIND.items() if s.acts_on == "activations"}
    assert set(norms.LAYERS) == expected


@pytest.mark.parametrize(
    "kind", [k for k in BY_KIND if BY_KIND[k]().for_activations().layer is None]
)
def test_other_kinds_return_only_the_activation(kind: str) -> None:
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(make(kind, 8)(x), x)
    assert torch.equal(make(kind, 8, "relu")(x), x.relu())


@pytest.mark.parametrize("kind", TAKES_PROXY)
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
def test_every_kind_with_an_eps_takes_the_proxy_activation(kind: str, activation: str) -> None:
    layer = make(spec(kind, proxy=True), 8, activation)
    y, gx = run(layer, torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3))
    assert y.isfinite().all()
    assert gx.isfinite().all()
    assert {"weight", "bias", "proxy_weight", "proxy_bias"} <= dict(layer.named_parameters()).keys()


VIRTUAL = [k for k in KINDS if "virtual_batch_size" in BY_KIND[k].model_fields]


# Each virtual batch of streaming norm depends on the one before; its own tests cover this.
@pytest.mark.parametrize("kind", [k for k in VIRTUAL if k != "streaming"])
def test_virtual_batches_are_normalized_one_by_one(kind: str) -> None:
    x, g = torch.randn(7, 8, 5, 3), torch.randn(7, 8, 5, 3)
    y, gx = run(layer_of(kind, virtual_batch_size=3), x, g)
    for part in (slice(0, 3), slice(3, 6), slice(6, 7)):
        expected = run(layer_of(kind), x[part], g[part])
        torch.testing.assert_close(y[part], expected[0])
        torch.testing.assert_close(gx[part], expected[1])


@pytest.mark.parametrize("kind", VIRTUAL)
def test_virtual_batches_as_large_as_the_batch_are_the_batch(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    found = run(layer_of(kind, virtual_batch_size=4), x, g)
    for a, b in zip(found, run(layer_of(kind), x, g)):
        torch.testing.assert_close(a, b)


def test_running_statistics_average_over_virtual_batches() -> None:
    x = torch.randn(4, 8, 5, 3)
    layer = make({"kind": "batch", "virtual_batch_size": 2, "momentum": 1.0}, 8)
    layer(x)
    halves = [x[:2].var((0, 2, 3)), x[2:].var((0, 2, 3))]
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, (halves[0] + halves[1]) / 2)


TORCH = [
    ("batch", lambda c, d: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[d - 1](c)),
    ("layer", lambda c, d: nn.GroupNorm(1, c)),
    ("group", lambda c, d: nn.GroupNorm(2, c)),
    ("instance", lambda c, d: nn.GroupNorm(c, c)),
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("kind", "theirs"), TORCH, ids=[kind for kind, _ in TORCH])
def test_state_dicts_go_to_torch_and_back(kind: str, theirs: Any, dims: int) -> None:
    layer, other = layer_of(kind, dims=dims), theirs(8, dims)
    x = torch.randn(shape(dims))
    layer(x)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.eval()(x), layer.eval()(x))
    back = make(spec(kind), 8, dims=dims)
    back.load_state_dict(other.state_dict())
    assert torch.equal(back.eval()(x), layer.eval()(x))


def test_strided_groups_are_contiguous_groups_of_permuted_channels() -> None:
    x, g = torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)
    order = torch.tensor([0, 2, 4, 1, 3, 5])  # c mod 2
    y, gx = run(make({"kind": "group", "groups": 2, "grouping": "strided"}, 6), x, g)
    expected = run(make({"kind": "group", "groups": 2}, 6), x[:, order], g[:, order])
    torch.testing.assert_close(y[:, order], expected[0])
    torch.testing.assert_close(gx[:, order], expected[1])


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 5),
    log_c=st.integers(1, 4),
    size=st.lists(st.integers(1, 6), min_size=2, max_size=2),
    virtual=st.none() | st.integers(1, 3),
)
def test_any_shape_is_normalized_or_refused(
    kind: str, n: int, log_c: int, size: "list[int]", virtual: "int | None"
) -> None:
    options = {"virtual_batch_size": virtual} if kind in VIRTUAL else {}
    layer = make(spec(kind, **options), 2**log_c, BRINGS.get(kind))
    x = torch.randn(n, 2**log_c, *size, requires_grad=True)
    try:
        y = layer(x)
    except InvalidSpec:
        assert size == [1, 1] or kind == "topk_batch" or n * size[0] * size[1] == 1
        return
    y.square().sum().backward()
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
