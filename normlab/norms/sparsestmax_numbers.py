"""SparsestMax and its Jacobian in plain numbers, for three logits at every step of a training.

`sparsestmax` is the definition, and this module follows its steps; K is the number of logits.
"""

from __future__ import annotations

import math
import struct
from typing import List, Sequence, Tuple

Vector = List[float]
Matrix = List[Vector]

_TIED = 16 * 2.0**-52  # a distance from the centre within rounding error


def project(z: Sequence[float], radius: float, variant: str) -> Tuple[Vector, Matrix]:
    """
    Return p = SparsestMax(z; radius), (K,), and dp_i / dz_j, (K, K).

    Args:
        z: logits; a non-finite one gives NaN.
        radius: from 0 on.
        variant: "paper" or "reference", as in `sparsestmax`.
    """
    k = len(z)
    if not all(map(math.isfinite, z)):  # a diverged run, which its loss reports
        return [math.nan] * k, [[math.nan] * k for _ in range(k)]
    p, jacobian = _sparsemax(z)
    face = [variant == "paper" or value > 0 for value in p]
    for _ in range(k - 1):
        size = sum(face)
        centre = [inside / size for inside in face]
        if variant == "reference":  # the authors' centre is in float32
            centre = [_single(value) for value in centre]
        w = [a - b for a, b in zip(p, centre)]
        distance = math.sqrt(sum(value * value for value in w))
        if distance >= radius or size == 1:
            break
        if distance <= _TIED:  # towards the first of the tied ratios, without gradient
            w = [float(i == face.index(True)) - value for i, value in enumerate(centre)]
            jacobian = [[0.0] * k for _ in range(k)]
        moved, jacobian = _push(centre, w, radius, jacobian)
        if min(moved) >= 0:
            return moved, jacobian
        p, fold = _sparsemax(moved)
        jacobian = _product(fold, jacobian)
        face = [value > 0 for value in p]
        inner = [inside / sum(face) for inside in face]
        step = sum((a - b) ** 2 for a, b in zip(inner, centre))
        radius = math.sqrt(max(radius * radius - step, 0.0))
    return p, jacobian


def _push(centre: Vector, w: Vector, radius: float, jacobian: Matrix) -> Tuple[Vector, Matrix]:
    # centre + radius * w / |w|, whose derivative is radius / |w| * (I - w w' / |w|^2)
    length = math.sqrt(sum(value * value for value in w))
    moved = [c + radius * value / length for c, value in zip(centre, w)]
    k = len(w)
    turn = [
        [radius / length * ((i == j) - w[i] * w[j] / length**2) for j in range(k)] for i in range(k)
    ]
    return moved, _product(turn, jacobian)


def _sparsemax(z: Sequence[float]) -> Tuple[Vector, Matrix]:
    total, tau = 0.0, 0.0
    for rank, value in enumerate(sorted(z, reverse=True), 1):
        if 1 + rank * value <= total + value:
            break
        total += value
        tau = (total - 1) / rank
    kept = [value > tau for value in z]
    size = sum(kept)
    p = [max(value - tau, 0.0) for value in z]
    k = len(z)
    jacobian = [[((i == j) - 1 / size) * (kept[i] and kept[j]) for j in range(k)] for i in range(k)]
    return p, jacobian


def _product(a: Matrix, b: Matrix) -> Matrix:
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]


def _single(value: float) -> float:
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single
