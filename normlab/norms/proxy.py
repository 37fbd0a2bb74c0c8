"""Proxy-normalized activation: remove the mean and scale that an activation gives to N(0, 1)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Dict, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import capture, engine_triton
from normlab.norms.activation_norm import ActivationNorm, ParameterHint
from normlab.norms.channels import by_channel, clamp_channels, scale_channels
from normlab.norms.following import ACTIVATIONS, Following, can_follow
from normlab.norms.passes import statistics_dtype
from normlab.norms.proxy_fused import Proxied, terms
from normlab.norms.rectified import Folded, relu_moments
from normlab.specs.norm_base import ActivationNormSpec

_DEFAULTS = ActivationNormSpec()

_NODES = 20  # Gauss-Hermite: accurate to 3e-8 for smooth activations of a standard normal
_MIDPOINTS = 200


class ProxyNorm(nn.Module):
    """
    A norm without affine, then a proxy-normalized activation with the affine.

    z = (phi(weight * y + bias) - m) / sqrt(s2 + proxy_eps), where y is the normalized input. m and
    s2 are the mean and the variance of phi(weight * Y + bias) for the proxy variable
    Y ~ N(proxy_bias, (1 + proxy_weight)^2). Nothing depends on the batch.

    Args:
        norm: an activation norm built with affine=False.
        activation: "relu", "silu" or "gelu".
        proxy_eps: added to s2.
        quadrature: "exact" is the closed form for ReLU and 20 Gauss-Hermite nodes for others;
            "midpoint200" is the rule of the published code, 200 equiprobable midpoints.
        weight_decay: weight decay of proxy_bias and proxy_weight, which the optimizer applies.
        delay_scale: whether to return only phi - m, for a network that multiplies by
            1 / sqrt(s2 + proxy_eps), the second result of `expectation`, later. The published
            network does this in the gate of a squeeze-and-excite block, or leaves it to the next
            layer.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: *norm* has an affine, or an option is unknown.

    Source:
        Labatie, Masters, Eaton-Rosen and Luschi, "Proxy-Normalizing Activations to Match Batch
        Normalization while Removing Batch Dependence", 2021, arXiv:2106.03743.
    """

    def __init__(
        self,
        norm: ActivationNorm,
        activation: str,
        proxy_eps: float = _DEFAULTS.proxy_eps,
        quadrature: str = _DEFAULTS.quadrature,
        weight_decay: float = _DEFAULTS.proxy_weight_decay,
        delay_scale: bool = False,
    ) -> None:
        super().__init__()
        if norm.affine:
            raise InvalidSpec("the proxy activation holds the affine: build its norm without one")
        if activation not in ACTIVATIONS:
            raise InvalidSpec(f"{activation=}: proxy normalizes one of {sorted(ACTIVATIONS)}")
        ActivationNormSpec.checked(
            norm.num_features,
            proxy_eps=proxy_eps,
            quadrature=quadrature,
            proxy_weight_decay=weight_decay,
        )
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
        """Normalize *x*, activate it, and remove the mean and scale of the activation."""
        if self._is_known(x):
            return self._by_kernels(x)
        if self._folds(x):
            scale, shift, floor = Folded.apply(*self._parameters_wide(), self.proxy_eps)
            y = self.norm.normalize_with(x.to(statistics_dtype(x)), scale, shift)
            return clamp_channels(y, floor).to(x.dtype)
        # A parameter's gradients through the data and through the proxy nearly cancel. So values
        # between norm and output, and the gradients' sum, are not rounded to the input's 16 bits.
        return self._by_steps(x.to(statistics_dtype(x))).to(x.dtype)

    def _is_known(self, x: Tensor) -> bool:
        """Return whether Triton kernels compute the moments of the activation."""
        known = self.norm.folds_affine and not self.delay_scale and not self.norm.plain
        loaded = engine_triton.kernels_for(x) is not None
        return known and loaded and self.weight.dtype != torch.float64

    def _by_kernels(self, x: Tensor) -> Tensor:
        exact = self.quadrature == "exact" and self.activation == "relu"
        quadrature = None if exact else self.quadrature
        how = Proxied(self.activation, quadrature, self.proxy_eps, self._expect, _rule)
        affine = self._parameters_wide()
        found = terms(engine_triton.kernels_for(x), how, *affine)
        if how.is_folded():
            affine, following = found, Following(floor=found[2])
        else:
            following = Following(self.activation, scale=found[0], shift=found[1])
        if can_follow(self.norm, x):  # norm, activation and proxy in one map
            return self.norm.followed(x, affine[0], affine[1], following)
        y = self.norm.normalize_with(x.to(statistics_dtype(x)), affine[0], affine[1])
        return following.apply(y).to(x.dtype)

    def _by_steps(self, x: Tensor) -> Tensor:
        wide = self._parameters_wide()
        weight, bias = wide[:2]
        mean, inverse_std = self._expect(*wide)
        if self.delay_scale:
            inverse_std = torch.ones_like(inverse_std)
        if not self.norm.folds_affine:
            return self._activate(self.norm(x), weight, bias, mean, inverse_std)
        if self.activation != "relu":
            y = self.norm.normalize_with(x, weight, bias)
            return self._finish(ACTIVATIONS[self.activation](y), mean, inverse_std)
        floor = -mean * inverse_std
        # (relu(t) - m) s = max(s t - s m, -s m): the norm's own affine does all except the max
        y = self.norm.normalize_with(x, weight * inverse_std, bias * inverse_std + floor)
        return clamp_channels(y, floor, self.norm.takes_plain(y))

    def expectation(self) -> Tuple[Tensor, Tensor]:
        """Return m and 1 / sqrt(s2 + proxy_eps), each (C,)."""
        return self._expect(*self._parameters_wide())

    def _expect(
        self, weight: Tensor, bias: Tensor, proxy_weight: Tensor, proxy_bias: Tensor
    ) -> Tuple[Tensor, Tensor]:
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

    def _folds(self, x: Tensor) -> bool:
        """Return whether the norm's affine and a clamp suffice, with a hand-written derivative."""
        simple = self.activation == "relu" and self.quadrature == "exact" and not self.delay_scale
        return simple and self.norm.folds_affine and not self.norm.takes_plain(x)

    def _parameters_wide(self) -> Tuple[Tensor, ...]:
        dtype = torch.float64 if self.weight.dtype == torch.float64 else torch.float32
        parameters = (self.weight, self.bias, self.proxy_weight, self.proxy_bias)
        return tuple(p.to(dtype) for p in parameters)

    def _activate(
        self, y: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse_std: Tensor
    ) -> Tensor:
        pre = y * by_channel(weight, y) + by_channel(bias, y)
        return self._finish(ACTIVATIONS[self.activation](pre), mean, inverse_std).to(y.dtype)

    def _finish(self, phi: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
        shift = -mean * inverse_std
        if self.norm.takes_plain(phi):
            z = phi * by_channel(inverse_std, phi) + by_channel(shift, phi)
            return z.to(phi.dtype)
        return scale_channels(phi, inverse_std, shift)

    def parameter_hints(self) -> Dict[nn.Parameter, ParameterHint]:
        """Give the extra mean and scale their own weight decay."""
        hint = ParameterHint(weight_decay=self.weight_decay)
        return {self.proxy_weight: hint, self.proxy_bias: hint}

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return (
            f"activation={self.activation!r}, proxy_eps={self.proxy_eps:g}, "
            f"quadrature={self.quadrature!r}, weight_decay={self.weight_decay:g}"
        )


def _rule(quadrature: str, like: Tensor) -> Tuple[Tensor, Tensor]:
    # A compiler traces the computation: kept tensors would be none of its own.
    if capture.is_on(like):
        return _computed_rule(quadrature, like.dtype, like.device)
    return _kept_rule(quadrature, like.dtype, like.device)


@lru_cache(maxsize=None)
def _kept_rule(quadrature: str, dtype: torch.dtype, device: torch.device) -> Tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # a later training saves them for its backward pass
        return _computed_rule(quadrature, dtype, device)


def _computed_rule(
    quadrature: str, dtype: torch.dtype, device: torch.device
) -> Tuple[Tensor, Tensor]:
    # Nodes and weights for a standard normal, (K, 1), computed in float64.
    if quadrature == "midpoint200":
        i = torch.arange(_MIDPOINTS, dtype=torch.float64)
        nodes = math.sqrt(2) * torch.erfinv(2 * (i + 0.5) / _MIDPOINTS - 1)
        masses = torch.full_like(nodes, 1 / _MIDPOINTS)
    else:
        nodes, masses = _gauss_hermite()
    return nodes.to(device, dtype).unsqueeze(1), masses.to(device, dtype).unsqueeze(1)


def _gauss_hermite() -> Tuple[Tensor, Tensor]:
    # Golub and Welsch: the nodes are the eigenvalues of the matrix of the recurrence.
    off = torch.arange(1, _NODES, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0].square()
