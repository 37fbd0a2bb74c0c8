"""The tasks as the sessions use them: loss, correct predictions, metrics of the test set."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Callable, Dict, Mapping, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import METRICS
from normlab.specs.options import checked_options
from normlab.specs.registries import named_object
from normlab.specs.sizes import task_of
from normlab.training.losses import binary_cross_entropy, by_prediction, cross_entropy, is_soft


def added(tallies: Sequence[Tensor]) -> Tensor:
    """Add up the sums over the batches."""
    return torch.stack(list(tallies)).sum(0)


def joined(tallies: Sequence[Tensor]) -> Tensor:
    """Join the rows of the batches."""
    return torch.cat(list(tallies))


class Measure(NamedTuple):
    """
    A measure that is not a mean over batches.

    Args:
        tally: computes the contribution of a batch, such as sums, from predictions and targets.
        value: computes the number from the contributions of the whole test set.
        whole: combines the contributions of the batches: `added`, or `joined` if the number depends
            on every prediction.
    """

    tally: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], float]
    whole: Callable[[Sequence[Tensor]], Tensor] = added


def overlaps(logits: Tensor, y: Tensor) -> Tensor:
    """
    Count, for each class, the positions that are both predicted and true, and those that are
    either.

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

    A class that is neither true nor predicted anywhere has no index and is left out.
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
    """Return exp of the mean negative log-likelihood, the effective number of choices."""
    return float((sums[0] / sums[1]).exp())


JACCARD = Measure(overlaps, jaccard)
PERPLEXITY = Measure(surprise, perplexity)


class ClassTask:
    """A class for each sample or position: cross entropy; the largest logit is predicted."""

    def loss(self, output: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross entropy."""
        return cross_entropy(output, y, label_smoothing)

    def correct(self, output: Tensor, y: Tensor) -> Tensor:
        """Count the correct predictions; for mixed classes, the likeliest one is correct."""
        true = y.argmax(1) if is_soft(y) else y
        return (output.argmax(1) == true).sum()


class Task:
    """
    The task of a job, as the sessions use it.

    Args:
        spec: the job.
    """

    def __init__(self, spec: JobSpec) -> None:
        facts = task_of(spec)
        options = checked_options(facts.options, f"the task {facts.name!r}", spec.task.values)
        self._author: Any = named_object(facts.path)(**options)
        self._smoothing = {"label_smoothing": spec.label_smoothing} if facts.smooths else {}
        self.counts = facts.counts
        self._dense = facts.dense
        self._loss: Callable[..., Tensor] = self._author.loss
        if spec.loss is not None:
            self._loss = partial(binary_cross_entropy, threshold=spec.loss.threshold)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss, ()."""
        return self._loss(output, y, **self._smoothing)

    def predictions(self, y: Tensor) -> int:
        """Count the predictions for the targets *y*: one per sample, or one per position."""
        return y.numel() if self._dense else len(y)

    def correct(self, output: Tensor, y: Tensor) -> Tensor:
        """Count the correct predictions; 0 if the task does not define them."""
        if not self.counts:
            return torch.zeros((), dtype=torch.int64, device=output.device)
        found: Tensor = self._author.correct(output, y)
        return found


def measures_of(spec: JobSpec) -> Dict[str, Measure]:
    """Return the measures of *spec*'s task and those that it requests, by metric."""
    names: Dict[str, Dict[str, Any]] = {own: {} for own in task_of(spec).measures}
    names.update({part.name: part.options for part in spec.metrics})
    return {
        name: _measure(name, named_object(METRICS[name].path), options)
        for name, options in names.items()
    }


def _measure(name: str, target: Any, options: Mapping[str, Any]) -> Measure:
    if isinstance(target, Measure):
        return target
    if inspect.isclass(target):
        made: Any = target(**options)
        return Measure(made.tally, made.value, getattr(made, "whole", added))
    each = partial(target, **options)
    return Measure(partial(_summed, name, each), lambda sums: float(sums[0] / sums[1]))


def _summed(name: str, each: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    found = each(x, y)
    if not isinstance(found, Tensor) or found.dim() == 0:
        raise InvalidSpec(f"{name} returned {found!r}; return a tensor with one number per sample")
    total = found.double().sum()
    return torch.stack([total, torch.full_like(total, found.numel())])


def tallies_of(spec: JobSpec) -> Callable[[Tensor, Tensor], Dict[str, Tensor]]:
    """Return the function whose values the sessions of *spec* add up in an evaluation."""
    measures = measures_of(spec)
    return lambda output, y: {name: m.tally(output, y) for name, m in measures.items()}
