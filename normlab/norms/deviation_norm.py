"""The common part of batch norms that do not divide by the standard deviation."""

from __future__ import annotations

from functools import lru_cache
from inspect import isfunction
from typing import Any, List, Optional, Tuple, cast

import torch
from torch import Tensor

from normlab.norms import deviation_node, deviations, engine_fused, engine_triton, passes
from normlab.norms.deviations import Deviation
from normlab.norms.running import BatchStatisticsNorm
from normlab.specs.norms_over_batches import L1BatchNormSpec

_DEFAULTS = L1BatchNormSpec()

# Methods that work with the fused forms too. The fused forms compute what all others compute.
_CALLED_ANYWAY = (
    "normalize", "constant_for", "extra_repr", "weight_of_new", "_averaged", "_check_values",
    "_normalize_fused", "_normalize_by_kernels", "_normalize_by_running", "_running_factor",
)  # fmt: skip

# the output, and sums over the samples of the mean and of the tracked value
_Part = Tuple[Tensor, Tensor, Tensor]


class DeviationBatchNorm(BatchStatisticsNorm):
    """
    Normalize each channel over the batch by a deviation A other than the standard deviation.

    y = weight * (x - M) / (c * A + eps) + bias. M is the mean and A the deviation of the channel
    over the batch and its positions; the constant c makes c * A an estimate of sigma.

    Running statistics: "standard" keeps the mean and (c * A)^2 under torch's names and with torch's
    momentum, so that state dicts of batch norm can be loaded. "reference" is the authors' rule:
    buffers start at 0, running_var averages the *reciprocal* 1 / (c * A + eps), and momentum is the
    weight of the old value. Evaluation before any training then gives the bias.

    Args:
        num_features: C, the number of channels.
        eps: added to c * A; same unit as x.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value (with "reference", of the old one); None averages all.
        virtual_batch_size: number of samples that share statistics (ghost batches); None is all.
        constant: "published"; "consistent" estimates sigma of Gaussian data without bias for
            every n; "one" leaves the constant out.
        running: "standard" or "reference".

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: an option is unknown, or a channel has too few values in training.
    """

    closed_form = True  # whether there is a `measure` for the fast form; baselines have none
    largest: Optional[int] = None  # deviations that the compiled node averages; 0 is all

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
        constant: str = _DEFAULTS.constant,
        running: str = _DEFAULTS.running,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        L1BatchNormSpec.checked(num_features, constant=constant, running=running)
        self.constant = constant
        self.running = running
        if running == "reference":
            self.running_var.zero_()

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize over the batch in training, by the running statistics in evaluation."""
        if not self.training:
            return self._normalize_by_running(x, weight, bias)
        self._check_values(x)
        n = x.shape[0]
        size = min(n, self.virtual_batch_size or n)
        y = self._normalize_by_kernels(x, size, weight, bias)
        if y is not None:
            return y
        rows = passes.dense(x)
        fused = self._normalize_fused(rows, size, weight, bias)
        if fused is not None:
            return passes.like(fused.to(x.dtype), x)
        # Not sliced unless necessary, because the gradient of a slice is a copy.
        cuts = [(rows, size)] if n % size == 0 else _cut(rows, size)
        parts = [self._normalize_groups(part, samples, weight, bias) for part, samples in cuts]
        self._track_parts(parts, n)
        y = parts[0][0] if len(parts) == 1 else torch.cat([part[0] for part in parts])
        return passes.like(y.view(x.shape).to(x.dtype), x)

    def measure(self, x: Tensor, mean: Tensor) -> Deviation:
        """Measure the deviation A of (G, V, C, D) data without an autograd graph."""
        raise NotImplementedError

    def measure_plain(self, centred: Tensor) -> Tensor:
        """Measure A of centred (G, V, C, D) data, in operators that autograd differentiates."""
        raise NotImplementedError

    def constant_for(self, n: int) -> float:
        """Return c for statistics over *n* values."""
        raise NotImplementedError

    def factor(self, deviation: Tensor, n: int) -> Tensor:
        """Return the factor for centred values."""
        return 1 / (self.constant_for(n) * deviation + self.eps)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, constant={self.constant!r}, running={self.running!r}"

    def _normalize_fused(
        self, x: Tensor, size: int, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Optional[Tensor]:
        affine = [p if p is None or p.dtype == x.dtype else p.to(x.dtype) for p in (weight, bias)]
        nodes = engine_fused.nodes_for(x, self.plain, *affine)
        largest = None if nodes is None else self._averaged()
        if largest is None:
            return None
        samples = (size, x.shape[0] % size or size)  # of a statistic, and of the last, smaller one
        constants = [self.constant_for(n * passes.positions(x)) for n in samples]
        y, mean, new = nodes.deviated(
            x, *affine, size, largest, constants, self.eps, self.running == "reference"
        )
        self.track(mean, new)
        return cast("Tensor", y)

    def _normalize_by_kernels(
        self, x: Tensor, size: int, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Optional[Tensor]:
        kernels = None if self.plain else engine_triton.kernels_for(x)
        largest = None if kernels is None else self._averaged()
        wide = any(t is not None and t.dtype == torch.float64 for t in (x, weight, bias))
        if kernels is None or largest is None or wide or x.numel() == 0 or x.shape[0] % size:
            return None
        values = size * passes.positions(x)
        c, reciprocal = self.constant_for(values), self.running == "reference"
        rule = kernels.Rule(size, largest, c, self.eps, reciprocal)

        def plain(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
            return self._normalize_plainly(x, size, weight, bias)

        y, mean, new = deviation_node.deviated(kernels, rule, plain, x, weight, bias)
        self.track(mean, new)
        return y

    def _averaged(self) -> Optional[int]:
        """Return how many deviations a fused form averages; None if none computes the same."""
        kind: Any = type(self)  # classes are hashed by identity
        return self.largest if _is_known(kind) else None

    def _normalize_plainly(
        self, x: Tensor, size: int, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        rows = passes.dense(x)
        grouped = rows.view(x.shape[0] // size, size, x.shape[1], -1)
        values = size * grouped.shape[3]

        def divisor(deviation: Tensor) -> Tensor:
            return self.factor(deviation, values)

        y = deviations.normalize_plain(grouped, self.measure_plain, divisor, weight, bias)[0]
        return passes.like(y.view(x.shape).to(x.dtype), x)

    def _normalize_groups(
        self, x: Tensor, size: int, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> _Part:
        n, c = x.shape[:2]
        grouped = x.view(n // size, size, c, -1)
        values = size * grouped.shape[3]

        def divisor(deviation: Tensor) -> Tensor:
            return self.factor(deviation, values)

        if self.takes_plain(x) or not self.closed_form:
            done = deviations.normalize_plain(grouped, self.measure_plain, divisor, weight, bias)
        else:
            done = deviations.normalize(
                grouped, self.measure, divisor, weight, bias, self.measure_plain
            )
        y, mean, deviation = done
        new = self._running_value(deviation, values)
        return y.reshape(x.shape), mean.sum((0, 1, 3)) * size, new.sum((0, 1, 3)) * size

    def _running_value(self, deviation: Tensor, n: int) -> Tensor:
        if self.running == "reference":
            return self.factor(deviation, n)
        return (self.constant_for(n) * deviation).square()

    def _track_parts(self, parts: List[_Part], n: int) -> None:
        """Track the groups' statistics, averaged over the samples."""
        means = torch.stack([part[1] for part in parts]).sum(0) / n
        news = torch.stack([part[2] for part in parts]).sum(0) / n
        self.track(means, news)

    def weight_of_new(self) -> Any:
        """Return the weight of this batch in the running statistics."""
        step = super().weight_of_new()
        flipped = self.running == "reference" and self.momentum is not None
        return 1 - step if flipped else step

    def _running_factor(self) -> Tensor:
        if self.running == "reference":
            return self.running_var
        return 1 / (self.running_var.sqrt() + self.eps)

    def _normalize_by_running(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        dtype = passes.statistics_dtype(x)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        scale = self._running_factor().to(dtype)
        if weight is not None:
            scale = scale * weight.to(dtype)
        y = (x.to(dtype) - self.running_mean.to(dtype).view(shape)) * scale.view(shape)
        if bias is not None:
            y = y + bias.to(dtype).view(shape)
        return y.to(x.dtype)

    def _check_values(self, x: Tensor) -> None:
        self._check_statistics(x)


@lru_cache(maxsize=None)
def _is_known(kind: Any) -> bool:
    """Return whether no subclass by others changes what *kind* computes."""
    own = (name for name, value in vars(DeviationBatchNorm).items() if isfunction(value))
    computed = {name for name in own if name != "__init__"}.difference(_CALLED_ANYWAY)
    return all(getattr(kind, name).__module__.startswith("normlab.") for name in computed)


def _cut(x: Tensor, size: int) -> List[Tuple[Tensor, int]]:
    """Cut *x* into groups of *size* samples and a smaller rest."""
    rest = x.shape[0] % size
    return [(x[:-rest], size), (x[-rest:], rest)]
