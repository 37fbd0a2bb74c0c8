"""The loss, in operators that every device has."""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the mean cross entropy over all predictions, in float32 or wider.

    With smoothing s the target is (1 - s) * one-hot + s / K. Mixed samples have probabilities of
    the classes in place of one-hot.

    Shape:
        *logits* (N, K) and *y* (N,), or probabilities (N, K), or (N, K, positions...) and
        (N, positions...) -> ()
    """
    log_p = log_probabilities(logits)
    loss = -(log_p * y).sum(dim=1).mean() if is_soft(y) else F.nll_loss(log_p, y.flatten())
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    return loss


def binary_cross_entropy(
    logits: Tensor, y: Tensor, label_smoothing: float = 0.0, threshold: Optional[float] = None
) -> Tensor:
    """
    Return the mean binary cross entropy over all predictions and classes, in float32.

    -(t log sigmoid(z) + (1 - t) log sigmoid(-z)), with the smoothed targets t of `cross_entropy`;
    with a *threshold*, t is 1 above it and else 0.

    Shape:
        as for `cross_entropy`.

    Source:
        Wightman, Touvron and Jégou, "ResNet strikes back", arXiv:2110.00476, section 3.
    """
    z = by_prediction(logits).float()
    target = y if is_soft(y) else F.one_hot(y.flatten(), z.shape[1]).to(z.dtype)
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / z.shape[1]
    if threshold is not None:
        target = (target > threshold).to(z.dtype)
    return F.binary_cross_entropy_with_logits(z, target)


def is_soft(y: Tensor) -> bool:
    """Return whether the targets are probabilities of classes, as for mixed samples."""
    return y.is_floating_point()


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the softmax, one row per prediction, in float32 or wider."""
    rows = by_prediction(logits)
    return F.log_softmax(rows if rows.dtype == torch.float64 else rows.float(), dim=1)


def by_prediction(logits: Tensor) -> Tensor:
    """
    Return a row for each prediction, in the order of their flattened classes.

    The loss over maps has no deterministic form on CUDA; that over rows has.

    Shape:
        (N, K, positions...) -> (N * positions, K)
    """
    return logits if logits.dim() == 2 else logits.movedim(1, -1).flatten(0, -2)
