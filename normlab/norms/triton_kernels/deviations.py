"""Launch the kernels of norms that divide by a deviation, forward and backward."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
import triton
from torch import Tensor

from normlab.norms.triton_kernels.choosing import choose_kernel, chosen_kernel
from normlab.norms.triton_kernels.compiling import launch
from normlab.norms.triton_kernels.deviating import (
    deviation_kernel,
    part_deviations_kernel,
    part_sums_kernel,
)
from normlab.norms.triton_kernels.deviating_slopes import (
    deviated_gradient_kernel,
    deviation_slopes_kernel,
    part_slopes_kernel,
)
from normlab.norms.triton_kernels.group_parts import Parts, parts_of
from normlab.norms.triton_kernels.layout import dense_format

_LINE = 64  # channels of a tile in channels last, as in `layout`
_COUNTED = 4  # the same if a tile counts 256 digits of each
_MOST = 128  # channels of a program that finishes
_ROUNDS = 4


class Rule(NamedTuple):
    """
    What a batch is divided by: constant * A + eps.

    Args:
        samples: number that share statistics; it divides the batch.
        largest: number of deviations that A is the mean of; 0 is all.
        constant: c.
        eps: added to c * A.
        reciprocal: whether the tracked value is 1 / (c A + eps), or else (c A)^2.
    """

    samples: int
    largest: int
    constant: float
    eps: float
    reciprocal: bool

    def parts(self, x: Tensor) -> Parts:
        """Return how dense *x* is cut."""
        return parts_of(x, self.samples, _COUNTED if self.largest > 1 else _LINE)


class Deviations(NamedTuple):
    """What is found in the forward pass, for each group and channel."""

    numbers: Tensor  # (5, G, C): mean, scale, shift, factor and tracked value
    least: Optional[Tensor]  # (G, C), the least deviation in A as bits; None if all are
    allowed: Optional[Tensor]  # (G, P, C), how many of each part that equal it are in A


def deviations(
    x: Tensor, rule: Rule, weight: Optional[Tensor], bias: Optional[Tensor]
) -> Deviations:
    """Find the numbers of dense *x*, (N, C, positions...), by *rule*."""
    p = rule.parts(x)
    groups, parts, c = p.shape()
    sums, found = (x.new_empty(p.shape(), dtype=torch.float32) for _ in range(2))
    launch(part_sums_kernel, p.programs, x, sums, *p.sizes, *p.blocks)
    numbers = x.new_empty(5, groups, c, dtype=torch.float32)
    affine = [numbers if t is None else t.contiguous() for t in (weight, bias)]
    flags = (rule.reciprocal, weight is not None, bias is not None)
    if rule.largest > 1:
        limits = _whole(x, groups, c), _whole(x, *p.shape())
        _choose(x, rule, p, (sums, found), (*affine, numbers, *limits), flags)
        return Deviations(numbers, *limits)
    some = rule.largest == 1
    least, allowed, ties = _whole(x, groups, c), _whole(x, *p.shape()), _whole(x, *p.shape())
    launch(
        part_deviations_kernel, p.programs, x, sums, found, ties, *p.sizes, some, *p.blocks
    )  # fmt: skip
    block, blocks = _finishing(c, _MOST)
    launch(
        deviation_kernel, groups * blocks, sums, found, ties, *affine, numbers, least, allowed,
        groups, parts, c, p.values(), rule.constant, rule.eps, some, *flags, block,
    )  # fmt: skip
    return Deviations(numbers, least, allowed) if some else Deviations(numbers, None, None)


def deviation_gradients(
    x: Tensor, g: Tensor, rule: Rule, found: Deviations, of_x: bool
) -> Tuple[Optional[Tensor], Tensor]:
    """Return the gradient of dense *x*, if *of_x*, and those of weight and bias, (2, C)."""
    g = g.contiguous(memory_format=dense_format(x))
    p = rule.parts(x)
    groups, parts, c = p.shape()
    sums = x.new_empty(3, *p.shape(), dtype=torch.float32)
    some = found.least is not None
    limits = [sums if t is None else t for t in found[1:]]
    launch(
        part_slopes_kernel, p.programs, x, g, found.numbers, *limits, sums, groups, *p.sizes,
        some, *p.blocks,
    )  # fmt: skip
    slopes, of_affine = (x.new_empty(2, groups, c, dtype=torch.float32) for _ in range(2))
    block, blocks = _finishing(c, _MOST)
    launch(
        deviation_slopes_kernel, groups * blocks, sums, found.numbers, slopes, of_affine,
        groups, parts, c, p.values(), rule.largest or p.values(), rule.constant, block,
    )  # fmt: skip
    gx = None
    if of_x:
        gx = torch.empty_like(x, memory_format=dense_format(x))
        launch(
            deviated_gradient_kernel, p.programs, x, g, gx, found.numbers, slopes, *limits,
            groups, *p.sizes, some, *p.blocks,
        )  # fmt: skip
    return gx, of_affine[:, 0] if groups == 1 else of_affine.sum(1)


def _choose(
    x: Tensor,
    rule: Rule,
    p: Parts,
    found: Tuple[Tensor, Tensor],
    results: Tuple[Tensor, ...],
    flags: Tuple[bool, bool, bool],
) -> None:
    groups, parts, c = p.shape()
    numbers = (rule.largest, rule.constant, rule.eps)
    if parts == 1:
        unused = (results[-1],) * 4
        launch(
            choose_kernel, p.programs, x, *found, *unused, *results, groups, *numbers, *p.sizes,
            *flags, 0, _ROUNDS - 1, *p.blocks,
        )  # fmt: skip
        return
    counts = _whole(x, 2, *p.shape(), 256)
    state = _whole(x, 2, 2, groups, c)
    for i in range(_ROUNDS):
        now, before = i % 2, 1 - i % 2
        launch(
            choose_kernel, p.programs, x, *found, counts[before], counts[now], state[before],
            state[now], *results, groups, *numbers, *p.sizes, *flags, i, i, *p.blocks,
        )  # fmt: skip
    block, blocks = _finishing(c, _COUNTED)
    launch(
        chosen_kernel, groups * blocks, *found, counts[1], state[1], *results, groups, parts, c,
        p.values(), *numbers, *flags, block,
    )  # fmt: skip


def _whole(x: Tensor, *shape: int) -> Tensor:
    return x.new_empty(shape, dtype=torch.int32)


def _finishing(c: int, most: int) -> Tuple[int, int]:
    """Return the channels of a program that finishes, and how many programs a group needs."""
    block = min(most, triton.next_power_of_2(c))
    return block, triton.cdiv(c, block)
