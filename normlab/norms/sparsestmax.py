"""Sparsemax and SparsestMax: the ratios of sparse switchable normalization.

K is the number of ratios, which are always the last dimension; u = (1/K, ..., 1/K) is the centre of
the simplex.
"""

from __future__ import annotations

from typing import Tuple, Union

import torch
from torch import Tensor
from typing_extensions import Literal

from normlab.errors import InvalidSpec

Variant = Literal["paper", "reference"]


def sparsemax(z: Tensor) -> Tensor:
    """
    Project *z* onto the simplex, to the nearest p with p >= 0 and sum(p) = 1.

    p = max(z - tau, 0), with tau such that p sums to one.

    Shape:
        (..., K) -> (..., K)

    Source:
        Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016, arXiv:1602.02068,
        algorithm 1.
    """
    z = z - z.detach().amax(-1, keepdim=True)  # the same p; large logits lose no digits
    support, size = _sparsemax_support(z.detach())
    tau = ((z * support).sum(-1, keepdim=True) - 1) / size  # the support is constant
    return torch.where(support > 0, z - tau, (z - z).detach())  # NaN if a logit is not finite


def sparsestmax(z: Tensor, radius: Union[float, Tensor], variant: Variant = "paper") -> Tensor:
    """
    Project *z* onto the part of the simplex with at least the distance *radius* from its centre.

    p = argmin ||p - z||^2 over p >= 0, sum(p) = 1, ||p - u|| >= radius.

    A radius of 0 is sparsemax; from sqrt((K - 1) / K) on, p is one-hot. If logits tie, all
    directions away from the centre are equally near. We choose the one towards the first of the
    tied ratios, and the gradient through that choice is zero. *radius* gets no gradient.

    Args:
        z: logits.
        radius: at least 0; a tensor broadcasts against z without its last dimension.
        variant: "paper" is the projection above. "reference" is the algorithm of the authors' code:
            it starts from the centre of the support of sparsemax(z) instead of u, which is not the
            projection if sparsemax(z) is sparse.

    Shape:
        (..., K) -> (..., K)

    Raises:
        InvalidSpec: *variant* is unknown, or a *radius* given as a number is negative.

    Source:
        Shao et al., "SSN: Learning Sparse Switchable Normalization via SparsestMax", CVPR 2019,
        arXiv:1903.03793. The rule for ties is ours; the authors' code leaves the simplex there.
    """
    _check(radius, variant)
    p = sparsemax(z)
    r = torch.as_tensor(radius, dtype=p.dtype, device=p.device).detach().unsqueeze(-1)
    face = torch.ones_like(p) if variant == "paper" else (p.detach() > 0).to(p.dtype)
    for _ in range(p.shape[-1] - 1):  # each turn with an effect sets at least one ratio to zero
        p, face, r = _push_out(p, face, r, single=variant == "reference")
    return p


def _check(radius: Union[float, Tensor], variant: str) -> None:
    if variant not in ("paper", "reference"):
        raise InvalidSpec(f"{variant=}: must be 'paper' or 'reference'")
    if not isinstance(radius, Tensor) and not radius >= 0:
        raise InvalidSpec(f"{radius=}: must be 0 or more")


def _sparsemax_support(z: Tensor) -> Tuple[Tensor, Tensor]:
    """Return which ratios of sparsemax(z) are above zero, and how many."""
    sorted_z = z.sort(dim=-1, descending=True).values
    rank = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    sums = _running_sums(sorted_z)
    kept = ~(1 + rank * sorted_z <= sums)  # true for NaN, because no index may be negative
    size = kept.sum(-1, keepdim=True)
    tau = (sums.gather(-1, size - 1) - 1) / size.to(z.dtype)
    support = (z > tau).to(z.dtype)
    return support, support.sum(-1, keepdim=True)


def _running_sums(x: Tensor) -> Tensor:
    """Add up the few entries of the last dimension; cumsum has no fixed order on CUDA."""
    sums = [x[..., 0]]
    for entry in x.unbind(-1)[1:]:
        sums.append(sums[-1] + entry)
    return torch.stack(sums, dim=-1)


def _push_out(p: Tensor, face: Tensor, r: Tensor, single: bool) -> Tuple[Tensor, Tensor, Tensor]:
    """
    Move *p* to distance *r* from the centre of *face*; return the rest to do on a smaller face.

    Cases are chosen by masks and not by branches, so that nothing waits for the device.
    """
    size = face.sum(-1, keepdim=True)
    centre = face / size
    if single:  # the authors' centre is in float32; gradients near it magnify the difference
        centre = centre.float().to(p.dtype)
    away, distance = _away_from(p, centre, face)
    moved = centre + r * away
    push = (distance < r) & (size > 1)
    outside = push & (moved.detach() < 0).any(-1, keepdim=True)
    folded = sparsemax(moved)
    p = torch.where(push, torch.where(outside, folded, moved), p)
    smaller = (folded.detach() > 0).to(p.dtype)
    step = (smaller / smaller.sum(-1, keepdim=True) - centre).square().sum(-1, keepdim=True)
    face = torch.where(outside, smaller, face)
    # rounding may leave a small negative number where the smaller face touches the sphere
    r = torch.where(outside, (r.square() - step).clamp(min=0).sqrt(), torch.zeros_like(r))
    return p, face, r


def _away_from(p: Tensor, centre: Tensor, face: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the unit vector from *centre* to *p*, and their distance."""
    w = p - centre
    distance = w.detach().square().sum(-1, keepdim=True).sqrt()
    tied = distance <= 16 * torch.finfo(p.dtype).eps
    first = torch.zeros_like(face).scatter(-1, face.argmax(-1, keepdim=True), 1.0) - centre
    w = torch.where(tied, first, w)
    # a face with one ratio has no direction, and is never moved
    norm = w.square().sum(-1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny).sqrt()
    return w / norm, distance
