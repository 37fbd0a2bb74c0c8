"""The loss, in operators that every device has."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the mean cross entropy of *logits* (N, K) against classes *y* (N,), in float32.

    With smoothing s the target is (1 - s) * one-hot + s / K.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    loss = F.nll_loss(log_p, y)
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    return loss
