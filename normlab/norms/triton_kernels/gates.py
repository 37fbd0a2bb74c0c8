"""Channels merged by learned gates, one bit of the channel's number after the other, in one launch.

The definition is in `meta`. A program has all channels of a sample; their number is a power of two.
"""

from __future__ import annotations

from typing import Tuple

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

MOST_CHANNELS = 4096
"""A sample's channels must fit the registers of a program."""


def gated(mean: Tensor, var: Tensor, gates: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Merge channels whose gates are positive.

    Shape:
        (N, C), (N, C), (K,) -> (K + 1, 2, N, C), the moments before each step and after the last,
        and (1,), the number of channels that share statistics
    """
    (n, c), k = mean.shape, gates.shape[0]
    steps, merged = mean.new_empty(k + 1, 2, n, c), mean.new_empty(1)
    launch(gates_kernel, n, mean, var, gates, steps, merged, k, c)
    return steps, merged


def gated_slopes(steps: Tensor, gates: Tensor, g: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return the gradients of the moments and, in two launches, of the gates.

    Shape:
        (K + 1, 2, N, C), (K,), (2, N, C) -> (2, N, C), (K,)
    """
    (n, c), k = steps.shape[2:], gates.shape[0]
    found, of_gates = g.new_empty(2, n, c), g.new_empty(k, n)
    launch(gate_slopes_kernel, n, steps, gates, g, found, of_gates, k, c)
    total = g.new_empty(k)
    launch(row_sums_kernel, k, of_gates, total, n, min(1024, triton.next_power_of_2(n)))
    return found, total


@jit
def gates_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    gates: tl.tensor,
    steps: tl.tensor,
    merged: tl.tensor,
    K: tl.constexpr,
    C: tl.constexpr,
) -> None:
    """Write the moments before and after each step, and from the first sample the group's size."""
    n, samples, c = tl.program_id(0), tl.num_programs(0), tl.arange(0, C)
    m, v = tl.load(mean + n * C + c), tl.load(var + n * C + c)
    size = 1.0
    for k in tl.static_range(K):
        _write(steps, m, v, k, n, samples, c, C)
        g = _opened(tl.load(gates + k))
        s = g / (1 + g)
        size *= 1 + g
        apart = _partner(m, 1 << k, C) - m
        v += s * (_partner(v, 1 << k, C) - v) + s * (1 - s) * (apart * apart)
        m += s * apart
    _write(steps, m, v, K, n, samples, c, C)
    tl.store(merged, size, mask=n == 0)


@jit
def gate_slopes_kernel(
    steps: tl.tensor,
    gates: tl.tensor,
    g: tl.tensor,
    found: tl.tensor,
    of_gates: tl.tensor,
    K: tl.constexpr,
    C: tl.constexpr,
) -> None:
    """
    Go back through the steps of one sample.

    A gate of the value g has the share s = g / (1 + g), and half of g's gradient.
    """
    n, samples, c = tl.program_id(0), tl.num_programs(0), tl.arange(0, C)
    dm, dv = tl.load(g + n * C + c), tl.load(g + (samples + n) * C + c)
    for k in tl.static_range(K - 1, -1, -1):
        m = tl.load(steps + (2 * k * samples + n) * C + c)
        v = tl.load(steps + ((2 * k + 1) * samples + n) * C + c)
        gate = _opened(tl.load(gates + k))
        s = gate / (1 + gate)
        apart, other_v = _partner(m, 1 << k, C) - m, _partner(v, 1 << k, C)
        of_share = tl.sum(dm * apart + dv * (other_v - v + (1 - 2 * s) * (apart * apart)), 0)
        tl.store(of_gates + k * samples + n, 0.5 * of_share / ((1 + gate) * (1 + gate)))
        other_dm, other_dv = _partner(dm, 1 << k, C), _partner(dv, 1 << k, C)
        dm += s * (other_dm - dm) - 2 * s * (1 - s) * apart * (dv + other_dv)
        dv += s * (other_dv - dv)
    tl.store(found + n * C + c, dm)
    tl.store(found + (samples + n) * C + c, dv)


@jit
def row_sums_kernel(
    values: tl.tensor, sums: tl.tensor, length: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """Sum one row, always in the same order."""
    row = tl.program_id(0)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, length, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(values + row * length + i, mask=i < length, other=0.0)
    tl.store(sums + row, tl.sum(total, 0))


@jit
def _opened(gate: tl.tensor) -> tl.tensor:
    """Return 1 for a positive *gate* and else 0; NaN if it is not finite, as in the definition."""
    return tl.where(gate > 0, 1.0, 0.0) + (gate - gate)


@jit
def _partner(x: tl.tensor, blocks: tl.constexpr, C: tl.constexpr) -> tl.tensor:
    """Swap the halves of each of the *blocks* of x, (C,)."""
    half: tl.constexpr = C // (2 * blocks)
    parts = tl.reshape(x, (blocks, 2, half))
    second = tl.arange(0, 2)[None, :, None] == 1
    upper = tl.sum(tl.where(second, 0.0, parts), 1)
    lower = tl.sum(tl.where(second, parts, 0.0), 1)
    return tl.reshape(tl.where(second, upper[:, None, :], lower[:, None, :]), (C,))


@jit
def _write(
    steps: tl.tensor,
    m: tl.tensor,
    v: tl.tensor,
    k: tl.constexpr,
    n: tl.tensor,
    samples: tl.tensor,
    c: tl.tensor,
    C: tl.constexpr,
) -> None:
    tl.store(steps + (2 * k * samples + n) * C + c, m)
    tl.store(steps + ((2 * k + 1) * samples + n) * C + c, v)
