"""The ratios of switches: softmax or SparsestMax of two or three logits, and their derivatives.

One program each has the logits of the mean and of the variance. A matrix or vector has four places,
of which the last are unused. SparsestMax follows `sparsestmax_numbers`, in float64 like it.
"""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit


@jit
def softmax_kernel(
    of_mean: tl.tensor,
    of_var: tl.tensor,
    ratios: tl.tensor,
    jacobians: tl.tensor,
    K: tl.constexpr,
) -> None:
    """Write a softmax p, and dp_i / dz_j = p_i ((i = j) - p_j)."""
    i = tl.arange(0, 4)
    logits = _logits(of_mean, of_var, i, K).to(tl.float32)
    powers = tl.where(i < K, tl.exp(logits - tl.max(tl.where(i < K, logits, -float("inf")), 0)), 0)
    p = powers / tl.sum(powers, 0)
    jacobian = p[:, None] * ((i[:, None] == i[None, :]).to(tl.float32) - p[None, :])
    _store(p, jacobian, i, ratios, jacobians, K)


@jit
def sparsestmax_kernel(
    of_mean: tl.tensor,
    of_var: tl.tensor,
    mean_fixed: tl.tensor,
    var_fixed: tl.tensor,
    radius: tl.tensor,
    ratios: tl.tensor,
    jacobians: tl.tensor,
    tolerance: tl.tensor,
    K: tl.constexpr,
    REFERENCE: tl.constexpr,
    FREEZE: tl.constexpr,
) -> None:
    """
    Write SparsestMax and its derivatives; fixed logits are ratios without derivatives.

    With FREEZE, write only one-hot ratios, as fixed logits.
    """
    i = tl.arange(0, 4)
    logits = _logits(of_mean, of_var, i, K)
    if tl.program_id(0) == 0:
        fixed = tl.load(mean_fixed).to(tl.int32)
    else:
        fixed = tl.load(var_fixed).to(tl.int32)
    p, jacobian = _projected(logits.to(tl.float64), i, radius, K, REFERENCE)
    if FREEZE:
        most = tl.max(tl.where(i < K, p, -1.0), 0)
        least = tl.min(tl.where(i < K, p, 2.0), 0)
        one_hot = tl.where((most - least >= 1 - tolerance) & (fixed == 0), 1, 0)
        where = one_hot + tl.zeros([4], tl.int32) > 0  # the interpreter spreads no truth
        rounded = tl.where(p > 0.5, 1.0, 0.0)
        if tl.program_id(0) == 0:
            tl.store(of_mean + i, rounded, mask=(i < K) & where)
            tl.store(mean_fixed, True, mask=one_hot > 0)
        else:
            tl.store(of_var + i, rounded, mask=(i < K) & where)
            tl.store(var_fixed, True, mask=one_hot > 0)
    else:
        p = tl.where(fixed > 0, logits.to(tl.float64), p)
        jacobian = tl.where(fixed > 0, 0.0, jacobian)
        _store(p, jacobian, i, ratios, jacobians, K)


@jit
def ratio_slopes_kernel(
    first: tl.tensor,
    second: tl.tensor,
    first_sums: tl.tensor,
    second_sums: tl.tensor,
    channel_sums: tl.tensor,
    jacobians: tl.tensor,
    slopes: tl.tensor,
    first_cells: tl.tensor,
    second_cells: tl.tensor,
    channels: tl.tensor,
    OWN: tl.constexpr,
    POOLS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the gradients of the logits of the mean or, in the second program, of the variance."""
    which = tl.program_id(0)
    i = tl.arange(0, 4)
    found = tl.zeros([4], tl.float32)
    if OWN:
        own = _total(channel_sums + (3 + which) * channels, channels, BLOCK)
        found = tl.where(i == 0, own, found)
    dot = _dot(first + which * first_cells, first_sums + which * first_cells, first_cells, BLOCK)
    found = tl.where(i == OWN, dot, found)
    if POOLS > 1:
        cells = second_cells
        dot = _dot(second + which * cells, second_sums + which * cells, cells, BLOCK)
        found = tl.where(i == OWN + 1, dot, found)
    K: tl.constexpr = OWN + POOLS
    place = which * K * K + i[:, None] * K + i[None, :]
    inside = (i[:, None] < K) & (i[None, :] < K)
    jacobian = tl.load(jacobians + place, mask=inside, other=0.0)
    tl.store(slopes + which * K + i, tl.sum(found[:, None] * jacobian, 0), mask=i < K)


@jit
def _projected(
    z: tl.tensor, i: tl.tensor, radius: tl.tensor, K: tl.constexpr, REFERENCE: tl.constexpr
) -> tl.tensor:
    used = i < K
    p, jacobian = _sparsemax(z, i, K)
    face = used
    if REFERENCE:
        face = p > 0
    r = tl.load(radius).to(tl.float64)
    going = r >= 0
    for _ in tl.static_range(K - 1):
        size = tl.sum(face.to(tl.float64), 0)
        centre = face.to(tl.float64) / size
        if REFERENCE:  # the authors' centre is in float32
            centre = centre.to(tl.float32).to(tl.float64)
        w = p - centre
        distance = tl.sqrt(tl.sum(w * w, 0))
        going = going & (distance < r) & (size > 1)
        tied = distance <= 3.552713678800501e-15  # within rounding error of the centre
        leading = tl.min(tl.where(face, i, 4), 0)
        w = tl.where(tied, (i == leading).to(tl.float64) - centre, w)
        before = tl.where(tied, 0.0, jacobian)
        length = tl.sqrt(tl.sum(w * w, 0))
        length = tl.where(length > 0, length, 1.0)
        moved = centre + r * w / length
        same = (i[:, None] == i[None, :]).to(tl.float64)
        turn = r / length * (same - w[:, None] * w[None, :] / (length * length))
        turned = _product(turn, before)
        outside = tl.min(tl.where(used, moved, 1.0), 0) < 0
        q, fold = _sparsemax(moved, i, K)
        folded = _product(fold, turned)
        p = tl.where(going, tl.where(outside, q, moved), p)
        jacobian = tl.where(going, tl.where(outside, folded, turned), jacobian)
        going = going & outside
        smaller = used & (q > 0)
        inner = smaller.to(tl.float64) / tl.sum(smaller.to(tl.float64), 0)
        step = tl.sum((inner - centre) * (inner - centre), 0)
        face = tl.where(going, smaller.to(tl.int32), face.to(tl.int32)) > 0
        r = tl.where(going, tl.sqrt(tl.maximum(r * r - step, 0.0)), r)
    finite = tl.sum(tl.where(used & (tl.abs(z) < float("inf")), 1, 0), 0) == K
    return tl.where(finite, p, float("nan")), tl.where(finite, jacobian, float("nan"))


@jit
def _sparsemax(z: tl.tensor, i: tl.tensor, K: tl.constexpr) -> tl.tensor:
    used = i < K
    earlier = (z[None, :] > z[:, None]) | ((z[None, :] == z[:, None]) & (i[None, :] <= i[:, None]))
    earlier = earlier & used[None, :]
    rank = tl.sum(earlier.to(tl.float64), 1)
    sums = tl.sum(tl.where(earlier, z[None, :], 0.0), 1)
    supported = used & (1 + rank * z > sums)
    size = tl.sum(supported.to(tl.float64), 0)
    tau = (tl.sum(tl.where(supported, z, 0.0), 0) - 1) / size
    kept = used & (z > tau)
    size = tl.sum(kept.to(tl.float64), 0)
    same = (i[:, None] == i[None, :]).to(tl.float64)
    jacobian = tl.where(kept[:, None] & kept[None, :], same - 1 / size, 0.0)
    return tl.where(kept, z - tau, 0.0), jacobian


@jit
def _product(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return tl.sum(a[:, :, None] * b[None, :, :], 1)


@jit
def _logits(of_mean: tl.tensor, of_var: tl.tensor, i: tl.tensor, K: tl.constexpr) -> tl.tensor:
    if tl.program_id(0) == 0:
        logits = tl.load(of_mean + i, mask=i < K, other=0.0)
    else:
        logits = tl.load(of_var + i, mask=i < K, other=0.0)
    return logits


@jit
def _store(
    p: tl.tensor,
    jacobian: tl.tensor,
    i: tl.tensor,
    ratios: tl.tensor,
    jacobians: tl.tensor,
    K: tl.constexpr,
) -> None:
    which = tl.program_id(0)
    tl.store(ratios + which * K + i, p.to(tl.float32), mask=i < K)
    place = which * K * K + i[:, None] * K + i[None, :]
    inside = (i[:, None] < K) & (i[None, :] < K)
    tl.store(jacobians + place, jacobian.to(tl.float32), mask=inside)


@jit
def _dot(a: tl.tensor, b: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr) -> tl.tensor:
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        values = tl.load(a + place, mask=place < size, other=0.0)
        total += values * tl.load(b + place, mask=place < size, other=0.0)
    return tl.sum(total, 0)


@jit
def _total(a: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr) -> tl.tensor:
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        total += tl.load(a + place, mask=place < size, other=0.0)
    return tl.sum(total, 0)
