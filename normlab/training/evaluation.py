"""How good a network is on the test set."""

from __future__ import annotations

from typing import Tuple

import torch

from normlab.data import Data
from normlab.training.accelerator import Session

_PIXELS = 2**18  # of a batch: large enough to be fast, small enough for the caches


def evaluate(session: Session, data: Data, batch_size: int) -> Tuple[float, float]:
    """Return mean loss and accuracy over the whole test set, in batches of *batch_size* or more."""
    size = batch_rows(batch_size, data.image_size)
    losses, correct = [], []
    for x, y in zip(torch.split(data.test.x, size), torch.split(data.test.y, size)):
        result = session.evaluate(data.standardize(x), y)
        losses.append(result.loss.double() * result.samples)
        correct.append(result.correct)
    n = len(data.test)
    return float(torch.stack(losses).sum()) / n, int(torch.stack(correct).sum()) / n


def batch_rows(batch_size: int, image_size: int) -> int:
    """Return how many samples are evaluated at once."""
    return max(batch_size, _PIXELS // image_size**2)
