"""EvoNorm-S0 in a few launches of Triton kernels, forward and backward; see `evonorm`."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

from normlab.norms.kernel_nodes import Gradients
from normlab.norms.passes import positions
from normlab.norms.solve_forms import Form


class Swish(NamedTuple):
    """
    A function of x and, in float32 and contiguous, v, weight and bias.

    It takes three launches, and its gradients three, or four for more than 1024 samples.

    Args:
        kernels: of Triton.
        form: its eps, and its only pool, which is a group of channels of a sample.
        plain: the definition.
    """

    kernels: Any
    form: Form
    plain: Callable[..., Tensor]

    def forward(
        self, x: Tensor, v: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tuple[Tensor, Sequence[Tensor]]:
        """Return y, and the moments of each group."""
        kernels, form = self.kernels, self.form
        rows = kernels.dense(x)
        mean, var = kernels.moments(rows, *x.shape[:2])
        (moments,) = kernels.pooled(form, mean, var, positions(x))
        shared = form.pools[0].channels
        return kernels.swished(rows, v, weight, bias, moments[1], shared, form.eps), (moments,)

    def backward(
        self,
        g: Tensor,
        given: Tuple[Tensor, Tensor, Optional[Tensor], Optional[Tensor]],
        kept: Tuple[Tensor],
        of_x: bool,
    ) -> Gradients:
        """Return the gradients of x, v, weight and bias."""
        (x, v, weight, _), (moments,), eps = given, kept, self.form.eps
        kernels, rows, pool = self.kernels, self.kernels.dense(x), self.form.pools[0]
        sums = kernels.swish_sums(rows, g, v)
        slopes, found = kernels.swish_slopes(sums, weight, moments[1], pool, positions(x), eps)
        gx = None
        if of_x:
            shared = pool.channels
            gx = kernels.swish_gradient(rows, g, v, weight, moments, slopes, shared, eps)
        return gx, found[2], found[0], found[1]
