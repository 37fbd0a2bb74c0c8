"""The loss, in operators that every device has."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the mean cross entropy over all predictions, in float32.

    With smoothing s the target is (1 - s) * one-hot + s / K.

    Shape:
        *logits* (N, K) and *y* (N,), or (N, K, positions...) and (N, positions...) -> ()
    """
    log_p = F.log_softmax(by_prediction(logits).float(), dim=1)
    loss = F.nll_loss(log_p, y.flatten())
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    return loss


def by_prediction(logits: Tensor) -> Tensor:
    """
    Return a row for each prediction, in the order of their flattened classes.

    The loss over maps has no deterministic form on CUDA; that over rows has.

    Shape:
        (N, K, positions...) -> (N * positions, K)
    """
    return logits if logits.dim() == 2 else logits.movedim(1, -1).flatten(0, -2)
