"""Online Normalization sample by sample, as the paper has it, and layers to compare with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from normlab.norms.online import OnlineNorm, scale_layer

STATE = ("mu", "var", "u", "v")
every_compensation = pytest.mark.parametrize("how", ["layer_scaling", "clamp", "none"])
both_dtypes = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)


def relative_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def state_of(layer: OnlineNorm) -> list[Tensor]:
    return [getattr(layer, name).clone() for name in STATE]


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(shape, dtype=dtype) * 2 + 0.5, torch.randn(shape, dtype=dtype)


def perturbed(c: int, dtype: torch.dtype = torch.float64, **options: Any) -> OnlineNorm:
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


def by_the_loop(layer: OnlineNorm, x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """The equations of the paper, sample by sample, starting from the state of *layer*."""
    o = layer.options
    n, c = x.shape[:2]
    mu, var, u, v = state_of(layer)
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
