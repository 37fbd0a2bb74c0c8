import pytest
import torch
from torch import Tensor

from normlab.norms import engine_fused, make, passes

KINDS = ["switchable", "batch_renorm", "meta", "streaming"]


def run(kind: str, x: Tensor, g: Tensor) -> "list[Tensor]":
    layer = make(kind, x.shape[1]).to(x.dtype)
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    grads = [p.grad for p in layer.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *grads, *layer.buffers()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(4, 8, 5, 3), (2, 4, 33, 33), (3, 2, 1, 17)])
@pytest.mark.parametrize("kind", KINDS)
def test_fused_passes_compute_the_same_as_stock_operators(
    kind: str, shape: "tuple[int, ...]", dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    x, g = 3 + torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    stock = run(kind, x, g)
    request.getfixturevalue("fused")
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9  # sums of a thousand float32 values
    for a, b in zip(run(kind, x, g), stock):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("fused")
def test_fused_moments_keep_their_digits() -> None:
    x = 1000 + torch.randn(2, 3, 64, 64)
    mean, var = passes.moments(x)
    torch.testing.assert_close(mean.double(), x.double().mean((2, 3)), rtol=1e-6, atol=0)
    exact = x.double().var((2, 3), unbiased=False)
    torch.testing.assert_close(var.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("fused")
def test_fused_moments_of_constants_and_nan() -> None:
    x = torch.full((2, 1, 4, 5), 2.5)
    x[1, 0, 2, 2] = torch.nan
    mean, var = passes.moments(x)
    assert (mean[0].item(), var[0].item()) == (2.5, 0.0)
    assert mean[1].isnan()
    assert var[1].isnan()


def test_nothing_is_compiled_unless_requested() -> None:
    assert engine_fused.kernels_for(torch.zeros(1)) is None
