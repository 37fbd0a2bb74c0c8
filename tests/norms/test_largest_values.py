"""Deviations that the compiled loops choose among equal ones, and roots of extreme variances."""

import pytest
import torch
from torch import Tensor

from normlab.norms import make

SHAPES = {"with positions": (3, 5, 4, 7), "without positions": (84, 5)}
both_layouts = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def channels(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def tied(shape: "tuple[int, ...]", dtype: torch.dtype) -> Tensor:
    """Four values of 2 and four of -2 in each channel, between zeros: eight largest of eleven."""
    x = torch.zeros(shape, dtype=dtype)
    for row in x.transpose(0, 1):
        flat = torch.zeros(row.numel(), dtype=dtype)
        flat[torch.randperm(row.numel())[:8]] = torch.tensor([2.0, -2.0] * 4, dtype=dtype)
        row.copy_(flat.view(row.shape))
    return x


def by_first(x: Tensor, k: int) -> Tensor:
    """The norm without eps and constant; of equal deviations the first of a channel count."""
    rows = channels(x)
    centred = rows - rows.mean(1, keepdim=True)
    size = centred.abs()
    order = torch.sort(-size.detach(), dim=1, stable=True).indices[:, :k]
    y = centred / size.gather(1, order).mean(1, keepdim=True)
    return y.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)


@both_precisions
@both_layouts
@pytest.mark.parametrize("k", [1, 3, 8, 11, 84])
def test_of_equal_deviations_the_first_k_get_the_gradient(
    k: int, shape: "tuple[int, ...]", dtype: torch.dtype, fused: None
) -> None:
    torch.manual_seed(0)
    x, g = tied(shape, dtype).requires_grad_(), torch.randn(shape, dtype=dtype)
    spec = {"kind": "topk_batch", "k": k, "constant": "one", "eps": 1e-12, "affine": False}
    y = make(spec, 5, dims=max(x.dim() - 2, 1)).to(dtype)(x)
    expected = by_first(x, k)
    torch.testing.assert_close(y, expected)
    (found,) = torch.autograd.grad(y, x, g)
    (wanted,) = torch.autograd.grad(expected, x, g)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@both_layouts
def test_deviations_of_any_magnitude_are_told_apart(shape: "tuple[int, ...]", fused: None) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 10.0 ** torch.randint(-30, 30, shape)
    spec = {"kind": "topk_batch", "k": 20, "constant": "one", "eps": 1e-12, "affine": False}
    y = make(spec, 5, dims=max(x.dim() - 2, 1)).double()(x)
    torch.testing.assert_close(y, by_first(x, 20))


@pytest.mark.parametrize("magnitude", [1e-19, 1e-8, 1.0, 1e8, 1e17])
def test_compiled_roots_are_those_of_any_variance(magnitude: float, fused: None) -> None:
    torch.manual_seed(0)
    spec = {"kind": "batch", "virtual_batch_size": 4, "eps": 1e-36, "affine": False}
    x = magnitude * torch.randn(8, 600)
    y = make(spec, 600, dims=1)(x)
    exact = x.double().view(2, 4, 600)
    root = (exact.var(1, keepdim=True, unbiased=False) + 1e-36).sqrt()
    exact = (exact - exact.mean(1, keepdim=True)) / root
    torch.testing.assert_close(y.double(), exact.view(8, 600), rtol=1e-5, atol=1e-6)
