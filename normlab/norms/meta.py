"""Meta normalization: binary matrices define which samples and channels share statistics."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine, engine_fused
from normlab.norms.activation_norm import ParameterHint
from normlab.norms.batch import affine_after
from normlab.norms.engine import Solved
from normlab.norms.passes import positions
from normlab.norms.pooling import bessel, pool, pool_batch, samples_sharing
from normlab.norms.running import BatchStatisticsNorm
from normlab.norms.solve_forms import Form, Pool, make_form
from normlab.specs.norms_mixed import MetaNormSpec

_DEFAULTS = MetaNormSpec()

_GATE = 1e-8  # gates start close to zero, on one side of it

Moments = Tuple[Tensor, Tensor]


class MetaNorm(BatchStatisticsNorm):
    """
    Normalize by moments shared over the samples and channels that U and V connect.

    y = weight * (x - M) / sqrt(S^2 + eps) + bias, where M = U mu V / (Z_U Z_V) for the means
    mu (N, C) of each channel of each sample. S^2 is the variance of the same union, so it includes
    the variance of the means. Z are the sums of rows. U = I gives instance normalization with
    V = I, layer normalization with V = 1, and group normalization with blocks. U = 1 with V = I is
    batch normalization.

    Learned matrices are binary too. V is the Kronecker product over k of g_k * ones(2, 2) +
    (1 - g_k) * I, so C must be a power of two, and groups have 2^(sum of g) channels.
    U = g * ones + (1 - g) * I. A gate g is 1 if its parameter is positive, else 0; the parameter
    gets its gradient by a straight-through estimate. With U = 1, evaluation uses running moments.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all values.
        virtual_batch_size: number of samples that "batch" connects; None is all.
        samples: U, one of "own", "batch", "learned".
        channels: V, one of "own", "groups", "all", "learned".
        groups: number of contiguous groups, with channels="groups".
        gate_init: the start of learned gates: "own" or "all".

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: C does not fit *channels*, or a variance would be over one value.

    Source:
        Shao, slides on normalization (M, and the geometry of its gradient). Gates are as in Zhang
        et al., "Differentiable Learning-to-Group Channels", 2019, arXiv:1908.05867. The slides
        aggregate only the variances, which would not give batch or layer normalization.
    """

    decisive = ("channel_gates", "sample_gate")
    on_engine = evaluates_on_engine = True
    has_node = True  # there is a compiled node for it

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
        samples: str = _DEFAULTS.samples,
        channels: str = _DEFAULTS.channels,
        groups: int = _DEFAULTS.groups,
        gate_init: str = _DEFAULTS.gate_init,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        MetaNormSpec.checked(
            num_features, samples=samples, channels=channels, groups=groups, gate_init=gate_init
        )
        self.samples, self.channels, self.groups = samples, channels, groups
        start = _GATE if gate_init == "all" else -_GATE
        bits = num_features.bit_length() - 1 if channels == "learned" else 0
        self.channel_gates = nn.Parameter(torch.full((bits,), start)) if bits else None
        self.sample_gate = nn.Parameter(torch.full((1,), start)) if samples == "learned" else None

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by the shared moments."""
        self._check_values(x)
        tensors = (weight, bias, self.channel_gates, self.sample_gate)
        if self.has_node and (self.samples == "own" or (self.training and self.samples == "batch")):
            nodes = engine_fused.nodes_for(x, self.plain, *tensors)
            if nodes is not None:
                return self._normalize_fused(x, weight, bias, nodes)

        form = self._form(x)
        running = self.running_moments(form)  # as of now, for a second derivative after an update

        def solve(
            mean: Tensor, var: Tensor, weight: Any, bias: Any, channel_gates: Any, gate: Any
        ) -> Solved:
            own, size = self._pool_channels(mean, var, channel_gates)
            (m, v), batch = self._pool_samples(own, gate, running)
            state: Tuple[Tensor, ...] = ()
            if running is None and batch is not None:
                samples = samples_sharing(mean, self.virtual_batch_size)
                state = (batch[0], batch[1] * bessel(size * samples * positions(x)))
            return Solved(*affine_after((v + self.eps).rsqrt(), mean - m, weight, bias), state)

        y, statistics = engine.normalize(x, solve, tensors, self.plain, form, self.following)
        if statistics:
            self.track(*statistics)
        return y

    def _form(self, x: Tensor) -> Optional[Form]:
        batch, samples = self.samples == "batch", x.shape[0]
        if self.samples == "learned" or not self.has_node:
            return None
        if batch and not self.training:
            return make_form(self.eps, (Pool(samples, 1, 0),), given=self.given_to_kernels(x))
        block = {"groups": self.num_features // self.groups, "all": self.num_features}
        pool = Pool(self.samples_merged(samples) if batch else 1, block.get(self.channels, 1), 0)
        gated = self.channel_gates is not None
        if pool == Pool(1, 1, 0) and not gated:
            return make_form(self.eps, own=True)
        return make_form(self.eps, (pool,), gated=gated, tracked=0 if batch else None)

    def _normalize_fused(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], nodes: Any
    ) -> Tensor:
        block = {"groups": self.num_features // self.groups, "all": self.num_features}
        size = block.get(self.channels, 1)
        pool = [self.samples_merged(x.shape[0]) if self.samples == "batch" else 1, size, 0]
        gates = self.channel_gates
        y: Tensor
        y, mean, var = nodes.mixed(x, weight, bias, pool, self.eps, gates=gates, unbiased=True)
        if self.samples == "batch":
            self.track(mean, var)
        return y

    def _pool_channels(self, mean: Tensor, var: Tensor, gates: Any) -> Tuple[Moments, Any]:
        # Also returns the number of channels in each group.
        c = self.num_features
        if self.channels == "own" or c == 1:
            return (mean, var), 1
        if gates is None:
            groups = 1 if self.channels == "all" else self.groups
            shape = (mean.shape[0], groups, -1)
            m, v = pool(mean.reshape(shape), var.reshape(shape), 2)
            wide = (mean.shape[0], groups, c // groups)
            return (m.expand(wide).reshape(-1, c), v.expand(wide).reshape(-1, c)), c // groups
        g = straight_through(gates)
        return _pool_by_gates(g, mean, var), (1 + g.detach()).prod()

    def channel_matrix(self) -> Tensor:
        """Return V, (C, C), which says which channels share their statistics."""
        c = self.num_features
        if self.channel_gates is not None:
            return kronecker_groups((self.channel_gates.detach() > 0).to(self.channel_gates.dtype))
        size = {"own": 1, "groups": c // self.groups, "all": c}.get(self.channels, 1)
        group = torch.arange(c, device=self.running_mean.device) // size
        return (group.unsqueeze(0) == group.unsqueeze(1)).to(self.running_mean.dtype)

    def _pool_samples(
        self, own: Moments, gate: Any, running: Optional[Moments]
    ) -> Tuple[Moments, Optional[Moments]]:
        # Also returns the batch's moments, if U may connect samples.
        if self.samples == "own":
            return own, None
        if running is None:
            batch = pool_batch(*own, self.virtual_batch_size)
        else:
            batch = (running[0].to(own[0])[None], running[1].to(own[1])[None])
        if gate is None:
            return batch, batch
        g = straight_through(gate)
        n = samples_sharing(own[0], self.virtual_batch_size)
        share = g * n / (g * n + 1 - g)
        m = own[0] + share * (batch[0] - own[0])
        # The moments of a mixture, about the mixture's mean.
        about = [v + (mean - m).square() for mean, v in (own, batch)]
        return (m, about[0] + share * (about[1] - about[0])), batch

    def _check_values(self, x: Tensor) -> None:
        if self.channels in ("own", "learned") and self.samples != "own":
            self._check_statistics(x)
        if self.channels == "own" and self.samples == "own" and positions(x) == 1:
            raise InvalidSpec(
                f"MetaNorm on shape {tuple(x.shape)}: samples='own' with channels='own' leaves one "
                "value for each variance; connect samples or channels"
            )

    def parameter_hints(self) -> Dict[nn.Parameter, ParameterHint]:
        """Exclude gates from weight decay."""
        gates = (self.channel_gates, self.sample_gate)
        return {gate: ParameterHint() for gate in gates if gate is not None}

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, samples={self.samples!r}, channels={self.channels!r}"


def kronecker_groups(gates: Tensor) -> Tensor:
    """
    Return the Kronecker product over k of g_k * ones(2, 2) + (1 - g_k) * I.

    Entry (i, j) is the product of the gates at the bits in which i and j differ. The first gate
    belongs to the highest bit.

    Shape:
        (K,) -> (2^K, 2^K)
    """
    k = gates.shape[0]
    index = torch.arange(2**k, device=gates.device)
    powers = 2 ** torch.arange(k - 1, -1, -1, device=gates.device).unsqueeze(1)
    bits = torch.floor_divide(index, powers) % 2  # (K, 2^K); IPUs have no shift
    products = torch.where(bits.bool(), gates.unsqueeze(1), gates.new_ones(())).prod(0)
    return products[index.unsqueeze(0) ^ index.unsqueeze(1)]


def straight_through(gates: Tensor) -> Tensor:
    """Return 1 for positive *gates* and else 0, with the gradient 1/2."""
    # The derivative of (sign(x) + 1) / 2, if that of sign is taken as 1.
    binary = (gates.detach() > 0).to(gates.dtype)
    return binary + 0.5 * (gates - gates.detach())


def _pool_by_gates(gates: Tensor, mean: Tensor, var: Tensor) -> Moments:
    """
    Merge channels like the normalized `kronecker_groups` matrix, one bit per step.

    A step mixes each channel with its partner, whose share is s = g / (1 + g). The variance of a
    mixture is (1 - s) v1 + s v2 + s (1 - s) (m1 - m2)^2.
    """
    n, c = mean.shape
    shares = (gates / (1 + gates)).unbind()
    for k, s in enumerate(shares):
        halves = (n, 2**k, 2, c >> (k + 1))
        m, v = mean.view(halves), var.view(halves)
        apart = m.flip(2) - m
        var = (v + s * (v.flip(2) - v) + (s * (1 - s)) * (apart * apart)).view(n, c)
        mean = (m + s * apart).view(n, c)
    return mean, var
