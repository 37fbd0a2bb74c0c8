"""What norms that divide by a deviation compute in Triton kernels, and by the definition."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import torch
from torch import Tensor

from normlab.norms import deviations, engine_triton, make
from normlab.norms.deviations import Deviation
from normlab.norms.lp_batch import L1BatchNorm

Results = Dict[str, Tensor]


def ties(
    k: int, shape: Tuple[int, ...], channels_last: bool = False, device: str = "cpu"
) -> Tuple[Results, Results]:
    """
    Normalize data of few different values; return the results, and those of the definition.

    The definition has float64, and chooses the first ones of equal deviations.
    """
    torch.manual_seed(0)
    x = torch.randint(-1, 2, shape, device="cpu").to(device, torch.float32)
    x = torch.cat([x, -x])  # the mean is 0
    g = torch.randn_like(x)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    layer: Any = make({"kind": "topk_batch", "k": k, "affine": False}, x.shape[1], dims=2).to(
        device
    )
    found = x.clone().requires_grad_()
    with engine_triton.triton_kernels(True, device):
        y = layer(found)
        y.backward(g)
    assert found.grad is not None
    constant = layer.constant_for(x[:, 0].numel())
    rows = x.double().contiguous().flatten(2).unsqueeze(0).requires_grad_()
    right = deviations.normalize(
        rows,
        lambda x, mean: _first(x, mean, k),
        lambda deviation: 1 / (constant * deviation + layer.eps),
        None,
        None,
        lambda centred: deviations.top_deviation_plain(centred, k),
    )[0]
    right.backward(g.double().contiguous().flatten(2).unsqueeze(0))
    assert rows.grad is not None
    return (
        {"y": y.detach().double(), "gx": found.grad.double()},
        {"y": right.detach().view(x.shape), "gx": rows.grad.view(x.shape)},
    )


def kernels_used(options: Dict[str, Any], shape: Tuple[int, ...]) -> bool:
    """Return whether a training step of a layer runs in the kernels for deviations."""
    from normlab.norms import triton_kernels

    layer = make(options, shape[1])
    used = []
    own = triton_kernels.deviations

    def seen(*given: Any) -> Any:
        used.append(True)
        return own(*given)

    package: Any = triton_kernels
    package.deviations = seen
    try:
        with engine_triton.triton_kernels(True, "cpu"):
            layer(torch.randn(shape, device="cpu"))
    finally:
        package.deviations = own
    return bool(used)


def launches_of(kind: str, shape: Tuple[int, ...]) -> Tuple[int, int]:
    """Return the launches of torch and of Triton in a training step."""
    from benchmarks import kernel_launches
    from benchmarks.norms import step_of

    layer = make(kind, shape[1])
    x = torch.randn(shape, device="cpu", requires_grad=True)
    with engine_triton.triton_kernels(True, "cpu"):
        return kernel_launches.launches(step_of(layer, x, torch.ones_like(x)), layer)


def far_from_zero(kind: str) -> Tuple[Tensor, Tensor]:
    """Return the output for data with a mean of 1000, and that in float64."""
    torch.manual_seed(0)
    x = 1000 + torch.randn(4, 2, 50, 50, device="cpu")
    layer, wide = make(kind, 2), make(kind, 2).double()
    with engine_triton.triton_kernels(True, "cpu"):
        y = layer(x)
    return y.detach().double(), wide(x.double()).detach()


def _first(x: Tensor, mean: Tensor, k: int) -> Deviation:
    rows = (x - mean).abs()[0].transpose(0, 1).flatten(1)  # (C, V * D)
    order = rows.sort(dim=1, descending=True, stable=True).indices[:, :k]
    channels, d = x.shape[2:]
    channel = torch.arange(channels, device=x.device).unsqueeze(1)
    places = (order // d * channels + channel) * d + order % d
    values = rows.gather(1, order).mean(1)
    return Deviation(values.view(1, 1, channels, 1), places.unsqueeze(0))


class _Halved(L1BatchNorm):
    def factor(self, deviation: Tensor, n: int) -> Tensor:
        """Return twice the factor."""
        return 2 * super().factor(deviation, n)


def of_a_subclass() -> Tuple[Tensor, Tensor]:
    """Return the output of a layer that halves what it divides by, and twice the usual output."""
    x = torch.randn(4, 3, 5, 5, device="cpu")
    with engine_triton.triton_kernels(True, "cpu"):
        return _Halved(3)(x).detach(), 2 * L1BatchNorm(3)(x).detach()
