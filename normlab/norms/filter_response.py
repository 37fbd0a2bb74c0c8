"""Filter Response Normalization, with the thresholded unit that replaces an activation."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.channels import clamp_channels
from normlab.norms.engine import Solved
from normlab.norms.following import Following, can_follow
from normlab.norms.passes import positions, statistics_dtype
from normlab.norms.solve_forms import make_form
from normlab.specs.norms_by_mean_square import FilterResponseNormSpec

_FRN = FilterResponseNormSpec()
_LEARNED_START = 1e-4


class FilterResponseNorm(ActivationNorm):
    """
    Divide each channel of each sample by its root mean square.

    y = weight * x / sqrt(mean(x^2 over positions) + eps) + bias; with *learned_eps*, |e| is also
    added to the mean square. Training and evaluation compute the same.

    Args:
        num_features: C, the number of channels.
        eps: added to the mean square; same unit as x squared.
        affine: whether to learn weight and bias, one of each per channel.
        learned_eps: whether to learn e, one number that starts at 1e-4. It is for maps of one
            position, where the mean square is the square of the value itself.
        threshold: whether `Thresholded` replaces an activation that follows.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: there is one position and e is not learned, so only a sign would be left.

    Source:
        Singh and Krishnan, "Filter Response Normalization Layer: Eliminating Batch Dependence in
        the Training of Deep Neural Networks", CVPR 2020, arXiv:1911.09737, equations 1 and 2.
    """

    on_engine = evaluates_on_engine = True

    def __init__(
        self,
        num_features: int,
        eps: float = _FRN.eps,
        affine: bool = _FRN.affine,
        learned_eps: bool = _FRN.learned_eps,
        threshold: bool = _FRN.threshold,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        self.threshold = threshold
        start = torch.full((1,), _LEARNED_START)
        self.learned_eps = nn.Parameter(start) if learned_eps else None

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Divide each channel of each sample by its root mean square."""
        if positions(x) == 1 and self.learned_eps is None:
            raise InvalidSpec(
                f"FilterResponseNorm on shape {tuple(x.shape)}: each channel has one value, of "
                "which only the sign would be left; set learned_eps to true, or use another kind "
                "such as 'rms' where maps are 1 x 1"
            )

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any, learned: Any) -> Solved:
            squares = var + mean * mean + self.eps
            squares = squares if learned is None else squares + learned.abs()
            scale = squares.rsqrt() if weight is None else squares.rsqrt() * weight
            shift = scale * mean  # y = scale * (x - mean) + shift
            return Solved(scale, shift if bias is None else shift + bias, ())

        added = self.added()
        form = make_form(self.eps, own=True, about_zero=True, adds=added is not None)
        affine, following = (weight, bias, added), self.following
        return engine.normalize(x, solve, affine, self.plain, form, following)[0]

    def added(self) -> Optional[Tensor]:
        """Return e for all channels, (1,), or for each channel, (C,); None if it is not learned."""
        return self.learned_eps

    def with_its_own(self) -> nn.Module:
        """Return the layer with its thresholded unit."""
        return Thresholded(self)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        learned = self.learned_eps is not None
        return f"{super().extra_repr()}, learned_eps={learned}, threshold={self.threshold}"


class Thresholded(nn.Module):
    """
    A norm, then max(y, tau) instead of an activation, with one learned tau for each channel.

    Raises:
        InvalidSpec: the norm refuses the input.

    Source:
        Singh and Krishnan (see `FilterResponseNorm`), equation 3, their thresholded linear unit;
        tau starts at 0, like ReLU.
    """

    def __init__(self, norm: ActivationNorm) -> None:
        super().__init__()
        self.norm = norm
        self.tau = nn.Parameter(torch.zeros(norm.num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*, and raise values below tau to tau."""
        tau = self.tau.to(statistics_dtype(self.tau))
        if can_follow(self.norm, x):
            following = Following(floor=tau.to(statistics_dtype(x)))
            return self.norm.followed(x, self.norm.weight, self.norm.bias, following)
        y: Tensor = self.norm(x)
        return clamp_channels(y, tau, self.norm.takes_plain(y))
