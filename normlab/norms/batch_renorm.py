"""Batch renormalization: batch statistics corrected towards the running ones."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple, cast

import torch
from torch import Tensor

from normlab.norms import capture, engine, engine_fused, engine_triton, passes
from normlab.norms.batch import affine_after
from normlab.norms.capture import Number
from normlab.norms.engine import Solved
from normlab.norms.pooling import pool_batch
from normlab.norms.running import BatchStatisticsNorm, per_channel
from normlab.norms.solve_forms import CORRECTED, CORRECTED_OUTSIDE, Pool, make_form
from normlab.specs.norms_over_batches import BatchRenormSpec

_DEFAULTS = BatchRenormSpec()


class BatchRenorm(BatchStatisticsNorm):
    """
    Normalize by batch statistics corrected towards the running ones.

    y = weight * ((x - M) / sigma_B * r + d) + bias, sigma_B = sqrt(V + eps),
    r = clip(sigma_B / sigma, 1 / r_limit, r_limit), d = clip((M - mu) / sigma, -d_limit, d_limit).
    r and d get no gradient. They use the running statistics mu and sigma from before the step.
    In evaluation, y = weight * (x - mu) / sigma + bias.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all values.
        inference_momentum: the momentum of the second pair of statistics, with variant="keras";
            None is *momentum*.
        virtual_batch_size: number of samples that share statistics; None is all.
        clipping: "steps" relaxes the limits by the number of finished training steps, "progress" by
            `set_progress`; "constant" uses r_max and d_max; "none" does not clip.
        r_max: final limit of r, from 1.
        r_min: final lower limit of r, from 1; None is the reciprocal of the upper limit.
        d_max: final limit of d, from 0.
        warmup_steps: steps before which r = 1 and d = 0.
        r_steps: step at which r's limit is final; it grows linearly after the warm-up.
        d_steps: step at which d's limit is final.
        progress_steps: the number of steps that a whole run counts as, with "progress".
        variant: "paper" is the formula above. "keras" keeps separate statistics for inference;
            their variance is 1 before the first step, and sigma^2 - eps afterwards. "ludvb" has
            sigma_B = sqrt(V) + eps.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: an option is out of range.

    Source:
        Ioffe, "Batch Renormalization", 2017, arXiv:1702.03275, algorithm 1.
    """

    on_engine = True
    moved: Tuple[str, ...] = (
        "running_mean",
        "running_std",
        "num_batches_tracked",
        "nonfinite_statistics",
    )
    reads: Tuple[str, ...] = ("running_mean", "running_std", "num_batches_tracked", "progress")

    running_std: Tensor
    moving_mean: Tensor
    moving_std: Tensor
    moving_var: Tensor
    progress: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
        clipping: str = _DEFAULTS.clipping,
        r_max: float = _DEFAULTS.r_max,
        d_max: float = _DEFAULTS.d_max,
        warmup_steps: int = _DEFAULTS.warmup_steps,
        r_steps: int = _DEFAULTS.r_steps,
        d_steps: int = _DEFAULTS.d_steps,
        progress_steps: int = _DEFAULTS.progress_steps,
        variant: str = _DEFAULTS.variant,
        r_min: Optional[float] = _DEFAULTS.r_min,
        inference_momentum: Optional[float] = _DEFAULTS.inference_momentum,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        BatchRenormSpec.checked(
            num_features,
            clipping=clipping,
            r_max=r_max,
            d_max=d_max,
            warmup_steps=warmup_steps,
            r_steps=r_steps,
            d_steps=d_steps,
            progress_steps=progress_steps,
            variant=variant,
            r_min=r_min,
            inference_momentum=inference_momentum,
        )
        self.clipping, self.variant = clipping, variant
        self.r_min, self.r_max, self.d_max = r_min, r_max, d_max
        self.inference_momentum = inference_momentum
        self.warmup_steps, self.r_steps, self.d_steps = warmup_steps, r_steps, d_steps
        self.progress_steps = progress_steps
        del self.running_var
        self.register_buffer("running_std", torch.ones(num_features))
        if variant == "keras":
            self.moved += ("moving_mean", "moving_std", "moving_var")
            self.register_buffer("moving_mean", torch.zeros(num_features))
            self.register_buffer("moving_std", torch.ones(num_features))
            self.register_buffer("moving_var", torch.ones(num_features))
        self.register_buffer("progress", torch.tensor(0.0))

    def set_progress(self, fraction: float) -> None:
        """Relax the limits with the run's progress, if `clipping` is "progress"."""
        self.progress.fill_(fraction)

    def limits(self) -> Tuple[Number, Number, Number]:
        """Return lower and upper limit of r, and the limit of d, in the next training step."""
        if self.clipping == "none":
            return 0.0, math.inf, math.inf
        step = self._step()
        of_r, of_d = (self._part(step, final) for final in (self.r_steps, self.d_steps))
        upper = 1 + (self.r_max - 1) * of_r
        lower = 1 / upper if self.r_min is None else 1 - (1 - self.r_min) * of_r
        return lower, upper, self.d_max * of_d

    def _step(self) -> Number:
        if self.clipping == "constant":
            return math.inf
        if self.clipping == "progress":
            return _number(self.progress) * self.progress_steps
        return _number(self.num_batches_tracked)

    def _part(self, step: Number, final_step: int) -> Number:
        """Return how far a limit has moved to its final value, as a share; 1 at *final_step*."""
        part = (step - self.warmup_steps) / (final_step - self.warmup_steps)
        return capture.bounded(part, 0.0, 1.0)

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by corrected batch statistics in training, by running ones otherwise."""
        if not self.training:
            if self.variant == "keras":
                return self.normalize_by(x, self.moving_mean, self.moving_var, weight, bias)
            var = self.running_std.square()
            return self.normalize_by(x, self.running_mean, var, weight, bias, eps=0.0)
        self._check_statistics(x)
        r_least, r_limit, d_limit = self.limits()
        mu = self.running_mean.clone()
        sigma = self.running_std.clamp_min(self._floor)
        nodes = engine_fused.nodes_for(x, self.plain, weight, bias)
        if nodes is not None:
            pool, outside = [self.samples_merged(x.shape[0]), 1, 0], self.variant == "ludvb"
            limits = (mu, sigma, r_least, r_limit, d_limit, outside)
            y, mean, std = nodes.renormalized(x, weight, bias, pool, self.eps, *limits)
            self._track_std(mean, std)
            return cast("Tensor", y)

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
            m, v = pool_batch(mean, var, self.virtual_batch_size)
            sigma_b = self._sigma(v)
            with torch.no_grad():
                r = capture.bounded(sigma_b / sigma.to(m), r_least, r_limit)
                d = capture.bounded((m - mu.to(m)) / sigma.to(m), -d_limit, d_limit)
            scale, shift = affine_after(r / sigma_b, mean - m, weight, bias)
            return Solved(scale, shift + (d if weight is None else d * weight), (m, v))

        form = make_form(
            self.eps,
            (Pool(self.samples_merged(x.shape[0]), 1, 0),),
            mode=CORRECTED_OUTSIDE if self.variant == "ludvb" else CORRECTED,
            past=torch.stack([mu, sigma]) if engine_triton.kernels_for(x) is not None else None,
            limits=(r_least, r_limit, d_limit),
            tracked=0,
            unbiased=False,
        )
        affine, following = (weight, bias), self.following
        y, (mean, var) = engine.normalize(x, solve, affine, self.plain, form, following)
        self._track_std(mean, self._sigma(var))
        return y

    @property
    def _floor(self) -> float:
        return math.sqrt(self.eps) if self.variant == "keras" else 0.0

    def _sigma(self, var: Tensor) -> Tensor:
        if self.variant == "ludvb":
            return var.clamp_min(passes.TINY).sqrt() + self.eps
        return (var + self.eps).sqrt()

    @torch.no_grad()
    def _track_std(self, mean: Tensor, std: Tensor) -> None:
        known = self.variant != "keras"
        if known and self.track_by_kernels(mean, std, self.running_std):
            return
        mean, std = per_channel(mean), per_channel(std)
        finite = self.count_batch(mean, std)
        step = self.weight_of_new()
        self.move({"running_mean": mean, "running_std": std}, step, finite)
        if self.variant == "keras":
            step = step if self.inference_momentum is None else self.inference_momentum
            self.move({"moving_mean": mean, "moving_std": std}, step, finite)
            var = (self.moving_std.square() - self.eps).clamp_min(0.0)
            self.move({"moving_var": var}, 1.0, finite)


def _number(t: Tensor) -> Number:
    """Return the only value of *t*: a number, or a float64 tensor if torch captures the layer."""
    return t.double() if capture.is_on(t) else float(t)
