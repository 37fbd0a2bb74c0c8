"""Linear recurrences over the samples of a batch, each in few operators.

s_{t+1} = factor_t * s_t + input_t for t = 0 .. N-1; all states s_0 .. s_N are returned.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Tuple

import torch
from torch import Tensor

_BLOCK = 16  # rows in a block of `scan_constant`; a larger matrix would be nearly all zeros
_LOOP_UP_TO = 24  # samples; above it, blocks run in parallel


def scan_constant(state: Tensor, inputs: Tensor, decay: float, gain: float = 1.0) -> Tensor:
    """
    Scan s_{t+1} = decay * s_t + gain * input_t.

    It is a product with a triangular matrix of powers of *decay*, first within blocks of samples,
    then over the ends of the blocks. All powers are in [0, 1], so rounding errors do not grow. A
    non-finite input affects the states after it but, as in a loop, none before.

    Shape:
        (C,), (N, C) -> (N + 1, C)
    """
    if inputs.device.type != "cpu":  # a branch on the data would wait for the device
        finite = torch.isfinite(inputs)
        states = _scan_finite(state, inputs.where(finite, inputs.new_zeros(())), decay, gain)
        spoilt = torch.cumsum(~finite, 0) > 0
        states[1:].masked_fill_(spoilt, float("nan"))
        return states
    states = _scan_finite(state, inputs, decay, gain)
    if math.isfinite(float(states[-1].sum())):
        return states
    states[0] = state
    factors = torch.full_like(inputs, decay)
    _loop(states, factors, inputs * gain)
    return states


def _scan_finite(state: Tensor, inputs: Tensor, decay: float, gain: float = 1.0) -> Tensor:
    # Only for finite inputs, because a zero of the triangle times infinity is not zero.
    n, c = inputs.shape
    if n <= 2 * _BLOCK:
        matrix, powers = _decays(n, decay, gain, inputs.dtype, inputs.device)
        return torch.addmm(torch.outer(powers, state), matrix, inputs)
    blocks = n // _BLOCK
    whole = blocks * _BLOCK
    matrix, powers = _decays(_BLOCK, decay, gain, inputs.dtype, inputs.device)
    rows = matrix[1:].expand(blocks, _BLOCK, _BLOCK)
    alone = torch.bmm(rows, inputs[:whole].view(blocks, _BLOCK, c))
    starts = _scan_finite(state, alone[:, -1], decay**_BLOCK)
    states = inputs.new_empty((n + 1, c))
    states[0] = state
    inside = states[1 : whole + 1].view(blocks, _BLOCK, c)
    torch.mul(powers[1:, None], starts[:-1, None], out=inside).add_(alone)
    if whole < n:
        states[whole:] = _scan_finite(starts[-1], inputs[whole:], decay, gain)
    return states


def scan_varying(state: Tensor, factors: Tensor, inputs: Tensor) -> Tensor:
    """
    Scan s_{t+1} = factor_t * s_t + input_t.

    It uses sums and products but no logarithms, so a factor may be zero or negative.

    Shape:
        (C,), (N, C), (N, C) -> (N + 1, C)
    """
    n, c = inputs.shape
    states = inputs.new_empty((n + 1, c))
    states[0] = state
    if n <= _LOOP_UP_TO:
        _loop(states, factors, inputs)
        return states
    length = _block_rows(n)
    whole = n - n % length
    blocks = (whole // length, length, c)
    # The states of each block from a state of zero, and the decay of a state of one.
    alone, f = states[1 : whole + 1].view(blocks), factors[:whole].view(blocks)
    decays = torch.empty_like(f)
    alone[:, 0], decays[:, 0] = inputs[:whole].view(blocks)[:, 0], f[:, 0]
    rows = zip(
        f.unbind(1), inputs[:whole].view(blocks).unbind(1), alone.unbind(1), decays.unbind(1)
    )
    _, _, last, decay = next(rows)
    for factor, i, out, decay_out in rows:
        last = torch.addcmul(i, factor, last, out=out)
        decay = torch.mul(factor, decay, out=decay_out)
    starts = inputs.new_empty((blocks[0] + 1, c))
    starts[0] = state
    _loop(starts, decay, last)
    alone.addcmul_(decays, starts[:-1].unsqueeze(1))
    _loop(states[whole:], factors[whole:], inputs[whole:])
    return states


def _loop(states: Tensor, factors: Tensor, inputs: Tensor) -> None:
    """Fill *states* after its first row."""
    rows = states.unbind()
    last = rows[0]
    for f, i, out in zip(factors.unbind(), inputs.unbind(), rows[1:]):
        last = torch.addcmul(i, f, last, out=out)


@lru_cache(maxsize=64)
def _block_rows(n: int) -> int:
    """Return the block length with the fewest operators: two per row and one per block."""
    return min(range(2, n), key=lambda rows: 2 * rows + n // rows + n % rows)


@lru_cache(maxsize=64)
def _decays(
    n: int, decay: float, gain: float, dtype: torch.dtype, device: torch.device
) -> Tuple[Tensor, Tensor]:
    """Return L with L[t, j] = gain * decay^(t - 1 - j) for j < t, and decay^t; t = 0 .. n."""
    with torch.inference_mode(False):
        t = torch.arange(n + 1, dtype=torch.float64)
        powers = torch.pow(torch.tensor(decay, dtype=torch.float64), t)
        lag = t.unsqueeze(1) - 1 - t[:n]
        matrix = torch.where(lag >= 0, gain * powers[lag.clamp(min=0).long()], 0.0)
        return matrix.to(device, dtype), powers.to(device, dtype)
