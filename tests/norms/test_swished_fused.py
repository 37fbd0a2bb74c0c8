import copy
from typing import Any, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms.evonorm import EvoNormS0

CASES: Dict[str, Dict[str, Any]] = {
    "groups": {"groups": 2},
    "one group": {"groups": 1},
    "without affine": {"groups": 4, "affine": False},
}
SHAPES = [(4, 8), (3, 8, 7), (3, 8, 5, 4), (0, 8, 5, 4)]


def some_layer(case: str, dtype: torch.dtype, shape: Tuple[int, ...]) -> nn.Module:
    torch.manual_seed(1)
    layer = EvoNormS0(8, dims=max(1, len(shape) - 2), **CASES[case]).to(dtype)
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer


def step(layer: nn.Module, x: Tensor, g: Tensor) -> List[Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    found = [x.grad, *(p.grad for p in layer.parameters())]
    return [y.detach(), *(t for t in found if t is not None)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_compiled_swish_equals_the_definition(
    case: str,
    shape: Tuple[int, ...],
    dtype: torch.dtype,
    tolerance: float,
    request: pytest.FixtureRequest,
) -> None:
    layer = some_layer(case, dtype, shape)
    x, g = 1 + 2 * torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    stock = step(copy.deepcopy(layer), x, g)
    request.getfixturevalue("fused")
    for a, b in zip(step(layer, x, g), stock):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("case", CASES)
def test_its_derivative_is_that_of_the_compiled_function(case: str) -> None:
    layer = some_layer(case, torch.float64, (2, 8, 3))
    x = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.usefixtures("fused")
def test_it_is_one_node_that_can_be_differentiated_once() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    y = some_layer("groups", torch.float32, (4, 8))(x)
    assert y.grad_fn is not None
    assert "Normalize" in y.grad_fn.name()
    with pytest.raises(InvalidSpec, match="plain_operators"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.usefixtures("fused")
def test_a_nan_stays_in_its_group() -> None:
    x = torch.randn(3, 8, 4)
    x[1, 2, 0] = torch.nan
    y = some_layer("groups", torch.float32, (3, 8, 4))(x)
    assert y[1, :4].isnan().all()
    assert not y[1, 4:].isnan().any()
    assert not y[[0, 2]].isnan().any()
