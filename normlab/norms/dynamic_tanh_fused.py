"""Dynamic Tanh in Triton kernels: one launch forward, and two backward; see `dynamic_tanh`."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

from normlab.norms.following import Following
from normlab.norms.kernel_nodes import Gradients


class Tanh(NamedTuple):
    """
    A function of x and, in float32 and contiguous, alpha, weight and bias.

    Args:
        kernels: of Triton.
        following: an activation that y includes, if any.
        plain: the definition, with what follows.
    """

    kernels: Any
    following: Optional[Following]
    plain: Callable[..., Tensor]

    def forward(
        self, x: Tensor, alpha: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tuple[Tensor, Sequence[Tensor]]:
        """Return y."""
        rows = self.kernels.dense(x)
        return self.kernels.tanhed(rows, alpha, weight, bias, self.following), ()

    def backward(
        self,
        g: Tensor,
        given: Tuple[Tensor, Tensor, Optional[Tensor], Optional[Tensor]],
        kept: Tuple[()],
        of_x: bool,
    ) -> Gradients:
        """Return the gradients of x, alpha, weight and bias."""
        x, *parameters = given
        rows, following = self.kernels.dense(x), self.following
        gx, found = self.kernels.tanh_gradients(rows, g, *parameters, following)
        alpha = found[2] if given[1].numel() > 1 else found[2, :1]
        return gx, alpha, found[0], found[1]
