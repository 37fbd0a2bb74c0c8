from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from normlab.norms import online_fused
from normlab.norms.online import OnlineNorm
from tests.norms.compiling import load_or_skip


@pytest.fixture
def fused() -> Iterator[None]:
    load_or_skip(online_fused.load)
    yield
    online_fused.unload()


def _three_steps(layer: OnlineNorm, inputs: Tensor, gradients: Tensor) -> list[Tensor]:
    found = []
    for x, g in zip(inputs.clone(), gradients):
        x.requires_grad_()
        y = layer(x)
        y.backward(g)
        found += [y.detach(), x.grad]
    parameters = [p.grad for p in layer.parameters()]
    return [*found, *parameters, layer.mu, layer.var, layer.u, layer.v]


@pytest.mark.slow
@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("how", ["layer_scaling", "clamp", "none"])
@pytest.mark.parametrize("shape", [(130, 6), (1, 6), (3, 6, 4, 5), (40, 6, 7)])
def test_the_fused_loop_equals_the_definition(
    shape: tuple[int, ...],
    how: str,
    affine: bool,
    size: int | None,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    torch.manual_seed(0)
    layer = OnlineNorm(
        6,
        affine=affine,
        dims=max(1, len(shape) - 2),
        error_compensation=how,
        layer_scaling_group_size=size,
        alpha_forward=0.97,
    ).to(dtype)
    for tensor in (*layer.parameters(), layer.u, layer.v, layer.mu):
        tensor.data.add_(0.2 * torch.randn_like(tensor))
    other = copy.deepcopy(layer)
    inputs, gradients = torch.randn(2, 3, *shape, dtype=dtype)
    fast = _three_steps(layer, inputs, gradients)
    online_fused.unload()
    for a, b in zip(fast, _three_steps(other, inputs, gradients)):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def test_nothing_is_compiled_unless_requested() -> None:
    assert not online_fused.serves(torch.zeros(2, 2))
