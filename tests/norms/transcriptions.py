"""The formulas of the specification in the simplest operators, to compare with long runs.

Nothing here is shared with the layers. Each function takes the input and a dictionary of state and
returns the output; the state is changed in place. autograd differentiates everything.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Optional

import torch
from torch import Tensor

State = Dict[str, Tensor]
OVER = (0, 2, 3)


def affine(x: Tensor, s: State) -> Tensor:
    """Return gamma x + beta."""
    return x * s["weight"].view(1, -1, 1, 1) + s["bias"].view(1, -1, 1, 1)


def over_batch(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel."""
    m = x.mean(OVER, keepdim=True)
    return m, (x - m).square().mean(OVER, keepdim=True)


def move(s: State, name: str, new: Tensor, share: float) -> None:
    """Move a running value towards the new one by *share* of the difference."""
    s[name] = s[name] * (1 - share) + share * new.detach().reshape(s[name].shape)


def deviation(x: Tensor, s: State, train: bool, eps: float, k: Optional[int]) -> Tensor:
    """L1 (k None) and Top-k batch norm of the authors' code, with its running values."""
    old = 0.1  # its momentum weighs the old value
    n = x.numel() // x.shape[1]
    if train:
        m = x.mean(OVER, keepdim=True)
        size = (x - m).abs()
        if k is None:
            factor = 1 / (math.sqrt(math.pi / 2) * size.mean(OVER, keepdim=True) + eps)
        else:
            c = 0.5 * (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(2 * math.log(n))
            top = size.transpose(0, 1).flatten(1).topk(k, dim=1).values.mean(1)
            factor = 1 / (c * top.view(1, -1, 1, 1) + eps)
        move(s, "running_mean", m, 1 - old)
        move(s, "running_var", factor, 1 - old)
    else:
        m = s["running_mean"].view(1, -1, 1, 1)
        factor = s["running_var"].view(1, -1, 1, 1)
    return affine((x - m) * factor, s)


def renorm(
    x: Tensor,
    s: State,
    train: bool,
    variant: str,
    limits: tuple[float, float, float],
    momenta: tuple[float, float],
    eps: float = 1e-3,
) -> Tensor:
    """Batch renormalization of tf_keras, of ludvb, and of the paper; *limits*: rmin, rmax, dmax."""
    if not train:
        if variant == "keras":
            m, v = s["moving_mean"], (s["moving_std"] ** 2 - eps).clamp(min=0)
            sigma = (v + eps).sqrt()
        else:
            m, sigma = s["running_mean"], s["running_std"]
        return affine((x - m.view(1, -1, 1, 1)) / sigma.view(1, -1, 1, 1), s)
    m, v = over_batch(x)
    sigma_b = v.sqrt() + eps if variant == "ludvb" else (v + eps).sqrt()
    mu, sigma = s["running_mean"].view(1, -1, 1, 1), s["running_std"].view(1, -1, 1, 1)
    if variant == "keras":
        sigma = sigma.clamp(min=math.sqrt(eps))
    r = (sigma_b / sigma).detach().clamp(limits[0], limits[1])
    d = ((m - mu) / sigma).detach().clamp(-limits[2], limits[2])
    y = affine((x - m) / sigma_b * r + d, s)
    move(s, "running_mean", m, momenta[0])
    move(s, "running_std", sigma_b, momenta[0])
    if variant == "keras":
        move(s, "moving_mean", m, momenta[1])
        move(s, "moving_std", sigma_b, momenta[1])
    return y


def switchable(
    x: Tensor, s: State, train: bool, p: Tensor, q: Tensor, momentum: float, unbiased: bool
) -> Tensor:
    """Switchable norm from the moments of (sample, channel); *momentum* weighs the old value."""
    n, c = x.shape[:2]
    rows = x.reshape(n, c, -1)
    mu = rows.mean(2, keepdim=True)
    var = rows.var(2, keepdim=True, unbiased=unbiased)
    second = var + mu**2
    mu_ln, mu_bn = mu.mean(1, keepdim=True), mu.mean(0, keepdim=True)
    var_ln = second.mean(1, keepdim=True) - mu_ln**2
    var_bn = second.mean(0, keepdim=True) - mu_bn**2
    if train:
        move(s, "running_mean", mu_bn, 1 - momentum)
        move(s, "running_var", var_bn, 1 - momentum)
    else:
        mu_bn, var_bn = s["running_mean"].view(1, c, 1), s["running_var"].view(1, c, 1)
    mean = p[0] * mu + p[1] * mu_ln + p[2] * mu_bn
    v = q[0] * var + q[1] * var_ln + q[2] * var_bn
    return affine(((rows - mean) / (v + 1e-5).sqrt()).view_as(x), s)


def meta(x: Tensor, s: State, train: bool, u: Optional[Tensor], v: Tensor) -> Tensor:
    """Meta norm with matrices; *u* None connects all samples and evaluates by running values."""
    n, c = x.shape[:2]
    rows = x.reshape(n, c, -1)
    mu, second = rows.mean(2), rows.square().mean(2)
    zv = v / v.sum(1, keepdim=True)
    zu = torch.ones(n, n).to(x) / n if u is None else u / u.sum(1, keepdim=True)
    m = zu @ mu @ zv
    var = zu @ second @ zv - m.square()
    if u is None and train:
        count = float(n * rows.shape[2] * v[0].detach().sum())
        move(s, "running_mean", m.mean(0), 0.1)
        move(s, "running_var", var.mean(0) * count / (count - 1), 0.1)
    elif u is None:
        m, var = s["running_mean"].expand(n, c), s["running_var"].expand(n, c)
    y = (rows - m.unsqueeze(2)) / (var + 1e-5).sqrt().unsqueeze(2)
    return affine(y.view_as(x), s)


def proxy(y: Tensor, s: State, activation: Any, eps: float) -> Tensor:
    """Proxy-normalized activation with the published rule of 200 midpoints."""
    at = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    nodes = (math.sqrt(2) * torch.erfinv(2 * at - 1)).to(y).unsqueeze(1)
    drawn = (1 + s["proxy_weight"]) * nodes + s["proxy_bias"]
    phi = activation(s["weight"] * drawn + s["bias"])
    m = phi.mean(0)
    s2 = (phi - m).square().mean(0)
    z = activation(affine(y, s)) - m.view(1, -1, 1, 1)
    return z * (s2 + eps).rsqrt().view(1, -1, 1, 1)


def group(x: Tensor, groups: int, strided: bool, eps: float = 1e-5) -> Tensor:
    """Group norm without affine; *strided*: channel c is in group c mod *groups*."""
    c = x.shape[1]
    member = torch.arange(c) % groups if strided else torch.arange(c) // (c // groups)
    y = torch.empty_like(x)
    for k in range(groups):
        part = x[:, member == k]
        m = part.mean((1, 2, 3), keepdim=True)
        v = (part - m).square().mean((1, 2, 3), keepdim=True)
        y = y.index_copy(1, (member == k).nonzero().flatten(), (part - m) / (v + eps).sqrt())
    return y
