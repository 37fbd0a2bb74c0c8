"""Property tests of the family: for every normalizer, or for all that state a property."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND
from tests.norms.family import (
    BATCH_DEPENDENT,
    BRINGS,
    HAS_PLAIN,
    IN_ORDER,
    KINDS,
    OVER_POSITIONS,
    SAMPLE_ALONE,
    STATELESS,
    TAKES_PROXY,
    VIRTUAL,
    every_kind,
    layer_of,
    run,
    shape,
    spec,
)


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
def test_channels_last_is_kept_and_computes_the_same(kind: str, dims: int) -> None:
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
    kind: str, size: tuple[int, ...]
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
    kind: str, n: int, log_c: int, size: list[int], virtual: int | None
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
