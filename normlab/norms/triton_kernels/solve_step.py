"""Launch the kernels of the solve step, forward and backward, for a form of `solve_forms`."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
import triton
from torch import Tensor

from normlab.norms.triton_kernels.compiling import launch
from normlab.norms.triton_kernels.pooling import pool_sums_kernel, pools_kernel, tile_of_cells
from normlab.norms.triton_kernels.ratios import (
    ratio_slopes_kernel,
    softmax_kernel,
    sparsestmax_kernel,
)
from normlab.norms.triton_kernels.slopes import channel_sums_kernel, moment_slopes_kernel
from normlab.norms.triton_kernels.solving import BLOCK, solve_kernel

_LINE = 32  # adjacent channels that a tile takes at least


class Solving(NamedTuple):
    """What the forward pass of a solve step leaves for the backward pass, all in float32."""

    mean: Tensor  # (N, C), like the variance
    var: Tensor
    pools: List[Tensor]  # (3, cells): means, variances, unbiased variances
    solved: Tensor  # (6, N, C), as `solve_kernel` writes it
    ratios: Tensor  # (2, K)
    jacobians: Tensor  # (2, K, K)


def pooled(
    form: Any, mean: Tensor, var: Tensor, positions: int, merged: Optional[Tensor] = None
) -> List[Tensor]:
    """Return the statistics of the form's pools, (3, cells) each, in one launch."""
    if not form.pools:
        return []
    (n, c), cells = mean.shape, [p.cells(*mean.shape) for p in form.pools]
    found = [mean.new_empty(3, size) for size in cells]
    shapes = [tile_of_cells(p, size) for p, size in zip(form.pools, cells)]
    launch(
        pools_kernel, _programs(shapes, cells), mean, var, found[0], found[-1],
        mean if merged is None else merged, form.factor, form.seen_channels(),
        n, c, positions, *_numbers(form), len(cells), form.about_zero, merged is not None,
        form.mixes_unbiased, *shapes[0], *shapes[-1],
    )  # fmt: skip
    return found


def solve(
    form: Any,
    moments: Tuple[Tensor, Tensor],
    pools: Sequence[Tensor],
    ratios: Optional[Tuple[Tensor, Tensor]],
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    learned: Optional[Tensor],
) -> Solving:
    """Return scale and shift, the first two of `Solving.solved`, in one launch."""
    mean, var = moments
    n, c = mean.shape
    solved = mean.new_empty(6, n, c)
    p, jacobians = (mean, mean) if ratios is None else ratios
    past = mean if form.past is None else form.past
    launch(
        solve_kernel, triton.cdiv(n * c, BLOCK), mean, var, *_two(pools, mean), p,
        mean if weight is None else weight, mean if bias is None else bias, past,
        mean if learned is None else learned, solved, form.eps, form.factor, *form.limits,
        n, c, _step(learned), *_numbers(form), int(form.own), len(pools), form.about_zero,
        form.mode, weight is not None, bias is not None, learned is not None, BLOCK,
    )  # fmt: skip
    return Solving(mean, var, list(pools), solved, p, jacobians)


def pool_sums(form: Any, f: Solving, s0: Tensor, s1: Tensor) -> List[Tensor]:
    """Return the sums of the gradients of M and V, (2, cells) for each pool, in one launch."""
    if not f.pools:
        return []
    (n, c), cells = f.mean.shape, [pool.shape[1] for pool in f.pools]
    found = [f.mean.new_empty(2, size) for size in cells]
    shapes = [tile_of_cells(p, size) for p, size in zip(form.pools, cells)]
    launch(
        pool_sums_kernel, _programs(shapes, cells), f.solved, s0, s1, found[0], found[-1],
        n, c, *_numbers(form), len(cells), *shapes[0], *shapes[-1],
    )  # fmt: skip
    return found


def channel_sums(
    form: Any, f: Solving, s0: Tensor, s1: Tensor, learned: Optional[Tensor]
) -> Tensor:
    """
    Return gradients of weight, bias and added eps, and two sums for the ratios, in one launch.

    Shape:
        (N, C) twice -> (5, C)
    """
    n, c = f.mean.shape
    found = f.mean.new_empty(5, c)
    samples = min(_LINE, triton.next_power_of_2(n))
    launch(
        channel_sums_kernel, triton.cdiv(c, _LINE), f.mean, f.var, f.solved, s0, s1,
        f.mean if learned is None else learned, found, form.factor, n, c, _step(learned),
        learned is not None, _LINE, samples,
    )  # fmt: skip
    return found


def moment_slopes(
    form: Any, f: Solving, s0: Tensor, s1: Tensor, sums: Sequence[Tensor], positions: int
) -> Tensor:
    """
    Return the gradients of variance and mean, without that through the map's shift, in one launch.

    Shape:
        (N, C) twice and (2, cells) for each pool -> (2, N, C)
    """
    n, c = f.mean.shape
    found = f.mean.new_empty(2, n, c)
    launch(
        moment_slopes_kernel, triton.cdiv(n * c, BLOCK), f.mean, f.solved, s0, s1,
        *_two(f.pools, f.mean), *_two(sums, f.mean), f.ratios, found, form.factor,
        form.seen_channels(), n, c, positions, *_numbers(form), int(form.own), len(f.pools),
        form.about_zero, form.mixes_unbiased, BLOCK,
    )  # fmt: skip
    return found


def ratio_slopes(form: Any, f: Solving, sums: Sequence[Tensor], of_channels: Tensor) -> Tensor:
    """Return the gradients of both sets of logits, (2, K), in one launch."""
    found = torch.empty_like(f.ratios)
    cells = [pool.shape[1] for pool in f.pools]
    launch(
        ratio_slopes_kernel, 2, *_two(f.pools, f.mean), *_two(sums, f.mean), of_channels,
        f.jacobians, found, cells[0], cells[-1], f.mean.shape[1], int(form.own), len(cells), BLOCK,
    )  # fmt: skip
    return found


def softmax(of_mean: Tensor, of_var: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the ratios of logits (K,), (2, K), and their derivatives, (2, K, K), in one launch."""
    k = of_mean.shape[0]
    ratios, jacobians = of_mean.new_empty(2, k), of_mean.new_empty(2, k, k)
    launch(softmax_kernel, 2, of_mean, of_var, ratios, jacobians, k)
    return ratios, jacobians


def sparsestmax(
    logits: Tuple[Tensor, Tensor],
    fixed: Tuple[Tensor, Tensor],
    radius: Tensor,
    variant: str,
    freeze: bool = False,
) -> Tuple[Tensor, Tensor]:
    """
    Return the same for SparsestMax, or *freeze* one-hot ratios in place.

    Args:
        logits: of the mean and of the variance, (K,).
        fixed: whether they are ratios already, () each.
        radius: the least distance from the centre, ().
        variant: "paper" or "reference", as in `sparsestmax`.
        freeze: whether to write one-hot ratios into the logits and flags, and return nothing.
    """
    k = logits[0].shape[0]
    ratios, jacobians = logits[0].new_empty(2, k), logits[0].new_empty(2, k, k)
    launch(
        sparsestmax_kernel, 2, *logits, *fixed, radius, ratios, jacobians,
        torch.finfo(torch.float32).eps, k, variant == "reference", freeze,
    )  # fmt: skip
    return ratios, jacobians


def _numbers(form: Any) -> Tuple[int, ...]:
    """Return samples, channels and groups of both pools; a pool that is missing is not read."""
    pools = form.pools or [(1, 1, 0)]
    return (*pools[0], *pools[-1])


def _two(tensors: Sequence[Tensor], unused: Tensor) -> Tuple[Tensor, Tensor]:
    return (tensors[0], tensors[-1]) if tensors else (unused, unused)


def _step(learned: Optional[Tensor]) -> int:
    return 0 if learned is None or learned.numel() == 1 else 1


def _programs(shapes: Sequence[Tuple[int, int]], cells: Sequence[int]) -> int:
    return sum(triton.cdiv(size, shape[0]) for shape, size in zip(shapes, cells))
