"""Proxy-normalized activation: what the activation does to N(0, 1) is taken off again."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import deviations, engine_fused
from normlab.norms.activation_norm import ActivationNorm

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: Dict[str, Activation] = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}
_NODES = 20  # Gauss-Hermite: accurate to 3e-8 for smooth activations of a standard normal
_MIDPOINTS = 200


class ProxyNorm(nn.Module):
    """
    A norm without affine, then the proxy-normalized activation that holds the affine.

    z = (phi(weight * y + bias) - m) / sqrt(s2 + proxy_eps), where y is the normalized input and m
    and s2 are mean and variance of phi(weight * Y + bias) for the proxy variable
    Y ~ N(proxy_bias, (1 + proxy_weight)^2). Nothing depends on the batch.

    Args:
        norm: an activation norm built with affine=False.
        activation: "relu", "silu" or "gelu".
        proxy_eps: added to s2.
        quadrature: "exact" is the closed form for ReLU and 20 Gauss-Hermite nodes otherwise;
            "midpoint200" is the rule of the published code, 200 equiprobable midpoints.
        weight_decay: decay of proxy_bias and proxy_weight, for the optimizer to apply.
        delay_scale: return phi - m alone, for a network that multiplies 1 / sqrt(s2 + proxy_eps),
            the second of `expectation`, in later, as the published one does into the gate of a
            squeeze-and-excite, or leaves it to the next layer.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: if *norm* has an affine, or an option is unknown.

    Source:
        Labatie, Masters, Eaton-Rosen and Luschi, "Proxy-Normalizing Activations to Match Batch
        Normalization while Removing Batch Dependence", 2021, arXiv:2106.03743.
    """

    def __init__(
        self,
        norm: ActivationNorm,
        activation: str,
        proxy_eps: float = 0.03,
        quadrature: str = "exact",
        weight_decay: float = 0.0,
        delay_scale: bool = False,
    ) -> None:
        super().__init__()
        if norm.affine:
            raise InvalidSpec("the proxy activation holds the affine: build its norm without one")
        if activation not in ACTIVATIONS:
            raise InvalidSpec(f"{activation=}: proxy normalizes one of {sorted(ACTIVATIONS)}")
        if quadrature not in ("exact", "midpoint200"):
            raise InvalidSpec(f"{quadrature=}: it is 'exact' or 'midpoint200'")
        if not proxy_eps > 0:
            raise InvalidSpec(f"{proxy_eps=}: it must be positive, for channels that are all zero")
        self.norm = norm
        self.activation = activation
        self.proxy_eps = proxy_eps
        self.quadrature = quadrature
        self.weight_decay = weight_decay
        self.delay_scale = delay_scale
        c = norm.num_features
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.proxy_weight = nn.Parameter(torch.zeros(c))
        self.proxy_bias = nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*, activate it, and take off the activation's own mean and scale."""
        if self._folds:
            scale, shift, floor = _Folded.apply(*self._parameters_wide(), self.proxy_eps)  # type: ignore[no-untyped-call]
            y = self.norm.normalize_with(x, scale, shift)
            return clamp_channels(y, floor)
        mean, inverse_std = self.expectation()
        if self.delay_scale:
            inverse_std = torch.ones_like(inverse_std)
        weight, bias = self.weight.to(mean.dtype), self.bias.to(mean.dtype)
        if not self.norm.folds_affine:
            return self._activate(self.norm(x), weight, bias, mean, inverse_std)
        if self.activation != "relu":
            y = self.norm.normalize_with(x, weight, bias)
            return self._finish(ACTIVATIONS[self.activation](y), mean, inverse_std)
        floor = -mean * inverse_std
        # (relu(t) - m) s = max(s t - s m, -s m): the norm's own affine does all but the max
        y = self.norm.normalize_with(x, weight * inverse_std, bias * inverse_std + floor)
        return clamp_channels(y, floor, self.norm.plain)

    def expectation(self) -> Tuple[Tensor, Tensor]:
        """Return m and 1 / sqrt(s2 + proxy_eps), each (C,)."""
        weight, bias, proxy_weight, proxy_bias = self._parameters_wide()
        if self.quadrature == "exact" and self.activation == "relu":
            center = weight * proxy_bias + bias
            mean, var = relu_moments(center, (weight * (1 + proxy_weight)).abs())
        else:
            nodes, masses = _rule(self.quadrature, weight)
            y = (1 + proxy_weight) * nodes + proxy_bias  # (K, C)
            phi = ACTIVATIONS[self.activation](weight * y + bias)
            mean = (masses * phi).sum(0)
            var = (masses * (phi - mean).square()).sum(0)
        return mean, (var + self.proxy_eps).rsqrt()

    @property
    def _folds(self) -> bool:
        """Whether the norm's own affine and one clamp do it all, by a derivative by hand."""
        simple = self.activation == "relu" and self.quadrature == "exact" and not self.delay_scale
        return simple and self.norm.folds_affine and not self.norm.plain

    def _parameters_wide(self) -> Tuple[Tensor, ...]:
        dtype = torch.float64 if self.weight.dtype == torch.float64 else torch.float32
        parameters = (self.weight, self.bias, self.proxy_weight, self.proxy_bias)
        return tuple(p.to(dtype) for p in parameters)

    def _activate(
        self, y: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse_std: Tensor
    ) -> Tensor:
        pre = y * _rows(weight, y) + _rows(bias, y)
        return self._finish(ACTIVATIONS[self.activation](pre), mean, inverse_std).to(y.dtype)

    def _finish(self, phi: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
        shift = -mean * inverse_std
        if self.norm.plain:
            return phi * _rows(inverse_std, phi) + _rows(shift, phi)
        return scale_channels(phi, inverse_std, shift)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return (
            f"activation={self.activation!r}, proxy_eps={self.proxy_eps:g}, "
            f"quadrature={self.quadrature!r}, weight_decay={self.weight_decay:g}"
        )


def relu_moments(center: Tensor, spread: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return mean and variance of relu(Z), Z ~ N(center, spread^2); *spread* may be 0.

    With t = center / spread, P the normal distribution function and p its density:
    mean = center P(t) + spread p(t), var = spread^2 (P(t) + t^2 P(t) P(-t) + t p(t) (P(-t) - P(t))
    - p(t)^2), which loses no digits for large t.
    """
    t, half_erf, density = _at_zero(center, spread)
    below, above = 0.5 + half_erf, 0.5 - half_erf
    mean = center * below + spread * density
    ratio = below + t * t * below * above - 2 * t * density * half_erf - density * density
    return mean, spread * spread * ratio.clamp_min(0.0)


def _fold(
    weight: Tensor, bias: Tensor, proxy_weight: Tensor, proxy_bias: Tensor, eps: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """Return i w, i (b - m) and -i m, with i = 1 / sqrt(s2 + eps): the affine, and the floor."""
    mean, var = relu_moments(weight * proxy_bias + bias, (weight * (1 + proxy_weight)).abs())
    inverse = (var + eps).rsqrt()
    floor = -mean * inverse
    return weight * inverse, torch.addcmul(floor, bias, inverse), floor


class _Folded(torch.autograd.Function):
    """
    `_fold`, with its derivative by hand: a hundred small operators less.

    With a = w b' + b, s = |w (1 + w')|, t = a / s, P and p as in `relu_moments`, and
    d E f(a + s Z) / ds = s E f''(a + s Z): dm/da = P(t), dm/ds = p(t), ds2/da = 2 m P(-t),
    ds2/ds = 2 (s P(t) - m p(t)).
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor, Tensor]:
        *parameters, ctx.eps = arguments
        ctx.save_for_backward(*parameters)
        weight, bias, proxy_weight, proxy_bias = parameters
        return _fold(weight, bias, proxy_weight, proxy_bias, ctx.eps)

    @staticmethod
    def backward(ctx: Any, g_scale: Tensor, g_shift: Tensor, g_floor: Tensor) -> Any:
        w, b, w2, b2 = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            grads = (g_scale, g_shift, g_floor)
            folded = _fold(w, b, w2, b2, ctx.eps)
            return (*torch.autograd.grad(folded, (w, b, w2, b2), grads, create_graph=True), None)
        signed = w * (1 + w2)
        center, spread = torch.addcmul(b, w, b2), signed.abs()
        mean, var = relu_moments(center, spread)
        _, half_erf, density = _at_zero(center, spread)
        below, inverse = half_erf + 0.5, (var + ctx.eps).rsqrt()
        g_floor = g_floor + g_shift
        g_inverse = g_scale * w + g_shift * b - g_floor * mean
        g_mean, g_var = -g_floor * inverse, -g_inverse * inverse.pow(3)  # of var / 2
        g_center = g_mean * below + g_var * mean * (1 - below)
        g_spread = g_mean * density + g_var * (spread * below - mean * density)
        g_signed = g_spread * signed.sign()
        of_weight = g_scale * inverse + g_center * b2 + g_signed * (1 + w2)
        return of_weight, g_shift * inverse + g_center, g_signed * w, g_center * w, None


def _at_zero(center: Tensor, spread: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Return t = center / spread, P(t) - 1/2 and p(t)."""
    # Beyond 12 the density is 0 to the last digit, and the square of t stays finite.
    t = (center / spread.clamp_min(1e-30)).clamp(-12.0, 12.0)
    half_erf = 0.5 * torch.erf(t * math.sqrt(0.5))
    return t, half_erf, torch.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


def clamp_channels(y: Tensor, floor: Tensor, plain: bool = False) -> Tensor:
    """Return max(y, floor), with one *floor* for each channel."""
    if plain:
        rows = _rows(floor, y).to(y.dtype)
        return torch.where(y <= rows, rows, y)  # a NaN is kept
    z: Tensor = _ClampChannels.apply(y, floor)  # type: ignore[no-untyped-call]
    return z


class _ClampChannels(torch.autograd.Function):
    # Only the output is kept: what equals the floor was clamped.
    @staticmethod
    def forward(ctx: Any, y: Tensor, floor: Tensor) -> Tensor:
        kernels = _kernels_for(y, floor)
        if kernels is None:
            z = torch.maximum(y, _rows(floor, y).to(y.dtype))
        else:
            z = kernels.floored(y, floor)
        ctx.save_for_backward(z, floor)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        z, floor = ctx.saved_tensors
        if torch.is_grad_enabled() or not (g.is_contiguous() and z.is_contiguous()):
            above = z - _rows(floor, z).to(z.dtype)  # a mask from a comparison is much slower
            kept = torch.ops.aten.threshold_backward(g, above, 0.0)
            return kept, _channel_sum(g, floor.dtype) - _channel_sum(kept, floor.dtype)
        kernels = _kernels_for(z, floor)
        if kernels is None or g.dtype != z.dtype:
            return _clamp_gradients(g, z, floor)
        kept, lost = kernels.floored_back(g, z, floor)
        return kept, lost.sum(0)


def _kernels_for(y: Tensor, floor: Tensor) -> Any:
    fits = y.is_contiguous() and y.dtype == floor.dtype and y.numel() > 0
    return engine_fused.kernels_for(y) if fits else None


def _clamp_gradients(g: Tensor, z: Tensor, floor: Tensor) -> Tuple[Tensor, Tensor]:
    """Compute both gradients of `clamp_channels`, a few samples at a time, that stay in cache."""
    rows, kept = _rows(floor, z).to(z.dtype), torch.empty_like(z)
    lost = floor.new_zeros(z.shape[1])
    for part in deviations.slices(z, 0):
        to, given = kept[part], g[part]
        torch.sub(z[part], rows, out=to)
        torch.ops.aten.threshold_backward.grad_input(given, to, 0.0, grad_input=to)
        lost += _channel_sum(given, floor.dtype) - _channel_sum(to, floor.dtype)
    return kept, lost


def scale_channels(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift with one *scale* and *shift* for each channel."""
    if x.dtype != scale.dtype:
        return (x * _rows(scale, x) + _rows(shift, x)).to(x.dtype)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    return torch.batch_norm(x, scale, shift, zero, one, False, 0.0, 0.0, False)


def _channel_sum(g: Tensor, dtype: torch.dtype) -> Tensor:
    if g.is_contiguous() and g.dim() > 2:  # the long sum runs along the memory
        return g.view(*g.shape[:2], -1).sum(2, dtype=dtype).sum(0)
    return g.sum([d for d in range(g.dim()) if d != 1], dtype=dtype)


def _rows(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(-1, *[1] * (x.dim() - 2))  # (C,) -> (C, 1, ...)


def _rule(quadrature: str, like: Tensor) -> Tuple[Tensor, Tensor]:
    # Nodes and masses of a standard normal, (K, 1); in float64 until the end.
    if quadrature == "midpoint200":
        i = torch.arange(_MIDPOINTS, dtype=torch.float64)
        nodes = math.sqrt(2) * torch.erfinv(2 * (i + 0.5) / _MIDPOINTS - 1)
        masses = torch.full_like(nodes, 1 / _MIDPOINTS)
    else:
        nodes, masses = _gauss_hermite()
    return nodes.to(like).unsqueeze(1), masses.to(like).unsqueeze(1)


def _gauss_hermite() -> Tuple[Tensor, Tensor]:
    # Golub and Welsch: the nodes are the eigenvalues of the recurrence's matrix.
    off = torch.arange(1, _NODES, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0].square()
