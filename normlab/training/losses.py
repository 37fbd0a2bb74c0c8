"""The loss, in operators that every device has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the mean cross entropy over all predictions, in float32 or wider.

    With smoothing s the target is (1 - s) * one-hot + s / K.

    Shape:
        *logits* (N, K) and *y* (N,), or (N, K, positions...) and (N, positions...) -> ()
    """
    log_p = log_probabilities(logits)
    loss = F.nll_loss(log_p, y.flatten())
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    return loss


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the softmax of each prediction, a row each, in float32 or wider."""
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
