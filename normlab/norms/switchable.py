"""Switchable normalization: a learned mixture of instance, layer and batch statistics."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine, engine_fused
from normlab.norms.batch import affine_after
from normlab.norms.engine import Solved
from normlab.norms.passes import positions
from normlab.norms.pooling import bessel, pool, pool_batch, samples_sharing, smallest_group
from normlab.norms.running import BatchStatisticsNorm, per_channel
from normlab.norms.solve_forms import Form, Pool, Ratios, make_form
from normlab.specs.norms_mixed import SwitchableNormSpec

_DEFAULTS = SwitchableNormSpec()

Moments = Tuple[Tensor, Tensor]
Numbers = Tuple[Sequence[float], Sequence[Sequence[float]]]  # (K,), and (K, K) or empty


class SwitchableNorm(BatchStatisticsNorm):
    """
    Normalize by a softmax mixture of instance, layer and batch statistics.

    y = weight * (x - sum_k p_k M_k) / sqrt(sum_k q_k V_k + eps) + bias, where k is instance, layer
    and batch. p = softmax(mean_weight) and q = softmax(var_weight) are the same for all channels.
    In one dimension there is no instance, so k is layer and batch. In evaluation, the running
    statistics replace those of the batch; running_var is the biased variance.

    Args:
        num_features: C, the number of channels.
        eps: added to the mixed variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all values.
        virtual_batch_size: number of samples that share the batch's statistics; None is all.
        batch_statistics: whether to mix batch statistics too, or only instance and layer.
        running: "moving" averages exponentially by *momentum*; "average" computes the moments of
            all batches since the start as of one batch (batch average in the authors' code).
        unbiased_reference: whether to use the unbiased instance variance (in one dimension, all
            variances unbiased), like the authors' code; those of the paper are biased.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: there would be nothing to mix, or an unbiased variance has only one value.

    Source:
        Luo et al., "Differentiable Learning-to-Normalize via Switchable Normalization", 2018,
        arXiv:1806.10779, equations 3 to 5. Our momentum is the weight of the new value, theirs
        of the old one; our buffers start at 0 and 1, theirs at 0 and 0.
    """

    decisive = ("mean_weight", "var_weight")
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
        batch_statistics: bool = _DEFAULTS.batch_statistics,
        unbiased_reference: bool = _DEFAULTS.unbiased_reference,
        running: str = _DEFAULTS.running,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        SwitchableNormSpec.checked(num_features, running=running)
        if dims == 1 and not batch_statistics:
            raise InvalidSpec(
                f"{dims=}, {batch_statistics=}: only layer statistics would be left to mix; "
                "use kind 'layer'"
            )
        self.batch_statistics = batch_statistics
        self.unbiased_reference = unbiased_reference
        self.running = running
        self.choices = (["instance"] if dims > 1 else []) + ["layer"]
        self.choices += ["batch"] if batch_statistics else []
        self.mean_weight = nn.Parameter(torch.ones(len(self.choices)))
        self.var_weight = nn.Parameter(torch.ones(len(self.choices)))

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor) -> None:
        """Update the running statistics with this batch, by momentum or as an average."""
        if self.running == "moving":
            super().track(mean, var)
            return
        mean, var = per_channel(mean), per_channel(var)
        finite = self.count_batch(mean, var)
        step = self.num_batches_tracked.to(self.running_mean.dtype).clamp_min(1).reciprocal()
        off = mean.to(self.running_mean) - self.running_mean
        between = (1 - step) * off.square()  # the variance between old and new mean, over step
        self.move({"running_mean": mean, "running_var": var + between}, step, finite)

    def ratios(self, mean_weight: Tensor, var_weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the weights of `choices` in the mean and in the variance."""
        return mean_weight.softmax(0), var_weight.softmax(0)

    def numbers(self) -> Tuple[Numbers, Numbers]:
        """
        Return the result of `ratios` as plain numbers, and each ratio's derivatives for each logit.

        On a CPU, numbers can be read without waiting, and are faster than small operators. Constant
        ratios have no derivatives.
        """
        return softmax(self.mean_weight.tolist()), softmax(self.var_weight.tolist())

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by the mixture, with the statistics of the batch or the running ones."""
        self._check_unbiased(x)
        if self.training and self.has_node and not self.unbiased_reference:
            logits = (self.mean_weight, self.var_weight)
            nodes = engine_fused.nodes_for(x, self.plain, weight, bias, *logits)
            if nodes is not None:
                return self._normalize_fused(x, weight, bias, nodes)

        form = self._form(x)
        running = self.running_moments(form)  # as of now, for a second derivative after an update

        def solve(
            mean: Tensor, var: Tensor, weight: Any, bias: Any, mean_weight: Any, var_weight: Any
        ) -> Solved:
            candidates = self._candidates(mean, var, positions(x), running)
            p, q = self.ratios(mean_weight, var_weight)
            mixed_mean = self._mix(p, candidates, 0)
            scale = (self._mix(q, candidates, 1) + self.eps).rsqrt()
            state = candidates.get("batch", ())
            return Solved(*affine_after(scale, mean - mixed_mean, weight, bias), state)

        tensors = (weight, bias, self.mean_weight, self.var_weight)
        y, statistics = engine.normalize(x, solve, tensors, self.plain, form, self.following)
        if self.training and statistics:
            self.track(*statistics)
        return y

    def _form(self, x: Tensor) -> Optional[Form]:
        if not self.has_node:
            return None
        d, own, known = positions(x), "instance" in self.choices, not self.training
        samples = x.shape[0] if known else self.samples_merged(x.shape[0])
        layer, batch = Pool(1, self.num_features, 0), Pool(samples, 1, 0)
        return make_form(
            self.eps,
            (layer, batch) if self.batch_statistics else (layer,),
            own,
            ratios=self.ratios_by,
            factor=d / (d - 1) if self.unbiased_reference and own else 1.0,
            given=self.given_to_kernels(x) if known and self.batch_statistics else None,
            tracked=1 if self.batch_statistics and self.training else None,
            unbiased=False,
            mixes_unbiased=self.unbiased_reference and self.dims == 1,
        )

    def ratios_by(self, kernels: Any, mean_weight: Tensor, var_weight: Tensor) -> Ratios:
        """Return the result of `ratios` and its derivatives, computed by Triton *kernels*."""
        found: Ratios = kernels.softmax(mean_weight, var_weight)
        return found

    def _normalize_fused(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], nodes: Any
    ) -> Tensor:
        wanted = self._wanted()
        chosen = [i for i, name in enumerate(self.choices) if name in wanted]
        (p, of_p), (q, of_q) = self.numbers()
        ratios = [[values[i] for i in chosen] for values in (p, q)]
        slopes = [
            [slope for i in chosen for slope in rows[i]] if rows else [] for rows in (of_p, of_q)
        ]
        each = {
            "instance": (1, 1, 0),
            "layer": (1, self.num_features, 0),
            "batch": (self.samples_merged(x.shape[0]), 1, 0),
        }
        pools: List[int] = [number for i in chosen for number in each[self.choices[i]]]
        y: Tensor
        logits = (self.mean_weight, self.var_weight)
        y, mean, var = nodes.mixed(x, weight, bias, pools, self.eps, *logits, *ratios, *slopes)
        if "batch" in wanted:
            self.track(mean, var)
        return y

    def _wanted(self) -> Set[str]:
        return set(self.choices)

    def _candidates(self, mean: Tensor, var: Tensor, d: int, running: Any) -> Dict[str, Moments]:
        wanted = self._wanted()
        if self.unbiased_reference and self.dims > 1:
            var = var * (d / (d - 1))
        found = {}
        if "instance" in wanted:
            found["instance"] = (mean, var)
        if "layer" in wanted:
            found["layer"] = self._layer_moments(mean, var, d)
        if "batch" in wanted:
            found["batch"] = self._batch_moments(mean, var, d, running)
        return found

    def _layer_moments(self, mean: Tensor, var: Tensor, d: int) -> Moments:
        return self._unbias(pool(mean, var, 1), mean.shape[1] * d)

    def _batch_moments(self, mean: Tensor, var: Tensor, d: int, running: Any) -> Moments:
        if running is not None:
            return running[0].to(mean).unsqueeze(0), running[1].to(var).unsqueeze(0)
        samples = samples_sharing(mean, self.virtual_batch_size)
        pooled = pool_batch(mean, var, self.virtual_batch_size)
        return self._unbias(pooled, samples * d)

    def _unbias(self, moments: Moments, count: Any) -> Moments:
        if not self.unbiased_reference or self.dims > 1:
            return moments
        return moments[0], moments[1] * bessel(count)

    def _check_unbiased(self, x: Tensor) -> None:
        if not self.unbiased_reference:
            return
        samples = smallest_group(x.shape[0], self.virtual_batch_size) if self.training else 2
        values = positions(x) * (samples if self.dims == 1 else 1)
        if values == 1:
            raise InvalidSpec(
                f"{type(self).__name__} on shape {tuple(x.shape)}: unbiased_reference divides by "
                "n - 1, and a variance here is over one value; use unbiased_reference=False"
            )

    def _mix(self, ratios: Tensor, candidates: Dict[str, Moments], which: int) -> Tensor:
        # A choice that is not a candidate has the ratio 0.
        terms = [
            ratio * candidates[name][which]
            for name, ratio in zip(self.choices, ratios.unbind())
            if name in candidates
        ]
        return terms[0] if len(terms) == 1 else sum(terms[1:], terms[0])


def softmax(logits: Sequence[float]) -> Numbers:
    """Return the softmax and its derivative for each logit; NaN if a logit is not finite."""
    most = max(logits)
    powers = [math.exp(value - most) for value in logits]
    total = sum(powers)
    p = [power / total for power in powers]
    return p, [[a * ((i == j) - b) for j, b in enumerate(p)] for i, a in enumerate(p)]
