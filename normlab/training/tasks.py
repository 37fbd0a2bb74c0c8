"""Measures of a task on the test set, beyond loss and accuracy."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import task_of
from normlab.training.losses import by_prediction


class Measure(NamedTuple):
    """
    A number that is no mean over batches.

    Args:
        tally: sums over the predictions of a batch, from logits and classes: the sums of all
            batches are added up.
        value: the number, from the sums over the whole test set.
    """

    tally: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], float]


def overlaps(logits: Tensor, y: Tensor) -> Tensor:
    """
    Count, for each class, the positions that are both predicted and true, and those that are any.

    Shape:
        (N, K, positions...) and (N, positions...) -> (K, 2), int64
    """
    found = logits.argmax(1)
    rows = []
    for k in range(logits.shape[1]):
        predicted, true = found == k, y == k
        rows.append(torch.stack([(predicted & true).sum(), (predicted | true).sum()]))
    return torch.stack(rows)


def jaccard(counts: Tensor) -> float:
    """
    Return the Jaccard index |predicted and true| / |predicted or true|, the mean over classes.

    A class that is nowhere, neither true nor predicted, has none and is left out.
    """
    both, either = counts.double().unbind(1)
    there = either > 0
    return float((both[there] / either[there]).mean())


def surprise(logits: Tensor, y: Tensor) -> Tensor:
    """
    Sum the negative log-likelihoods of the classes, without smoothing, and count them.

    Shape:
        (N, K, positions...) and (N, positions...) -> (2,), float64
    """
    log_p = F.log_softmax(by_prediction(logits).float(), dim=1)
    total = F.nll_loss(log_p, y.flatten(), reduction="sum").double()
    return torch.stack([total, torch.full_like(total, y.numel())])


def perplexity(sums: Tensor) -> float:
    """Return exp of the mean negative log-likelihood: between how many one seems to guess."""
    return float((sums[0] / sums[1]).exp())


MEASURES: Dict[str, Measure] = {
    "val/jaccard": Measure(overlaps, jaccard),
    "val/perplexity": Measure(surprise, perplexity),
}


def measure_of(spec: JobSpec) -> Optional[str]:
    """Return the name of the measure of *spec*'s task, or None."""
    return task_of(spec).measure or None


def tally_of(spec: JobSpec) -> Callable[[Tensor, Tensor], Optional[Tensor]]:
    """Return what the sessions of *spec* sum up in an evaluation."""
    name = measure_of(spec)
    return (lambda logits, y: None) if name is None else MEASURES[name].tally
