"""The decorators for a user's own tasks, metrics, hooks and diagnostics."""

from __future__ import annotations

from typing import Callable, Sequence

from normlab.plugins.declaring import TargetT, declare
from normlab.specs.registries import DIAGNOSTICS, HOOKS, METRICS, TASKS


def task(
    name: str,
    *,
    predicts: str = "",
    dims: int = 2,
    dense: bool = False,
    classes: bool = True,
    mixes: bool = False,
    needs: Sequence[str] = (),
) -> Callable[[TargetT], TargetT]:
    """
    Declare a task, for `task="NAME"` of a network and of a dataset.

    The class has `loss(output, y)`, the mean over the batch, which may also take `label_smoothing`.
    If there is an accuracy, it also has `correct(output, y)`, the number of correct predictions.
    The annotated arguments of its constructor are the options, for `task: {OPTION: ...}` in jobs.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        predicts: a short text on what is predicted.
        dims: dimensions of a sample's positions: 2 for images, 1 for sequences.
        dense: whether every position has a target; otherwise each sample has one.
        classes: whether a target is an integer class; otherwise it is a number.
        mixes: whether loss and accuracy take the targets of mixed samples: means of numbers, or
            probabilities of classes, (N, K).
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    form = {"dims": dims, "dense": dense, "classes": classes, "mixes": mixes}
    return declare(TASKS, name, {"predicts": predicts or name, **form}, needs)


def metric(
    name: str, *, tasks: Sequence[str] = (), needs: Sequence[str] = ()
) -> Callable[[TargetT], TargetT]:
    """
    Declare a metric over the test set, for `metrics: [NAME]`, or `[{name: NAME, OPTION: ...}]`.

    A function of (output, y) returns a number for each sample; the metric is their mean. A class
    has `tally(output, y)`, whose tensors are summed over the batches, and `value(sums)`. With a
    method `whole(tallies)`, it joins the tallies of the batches itself, for example by `torch.cat`.
    Further annotated arguments of the function, or those of the constructor, are the options.

    Args:
        name: val/ followed by lower-case letters, digits and underscores.
        tasks: the tasks for which it has a meaning; empty for all.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(METRICS, name, {"tasks": list(tasks)}, needs)


def hook(name: str, *, needs: Sequence[str] = ()) -> Callable[[TargetT], TargetT]:
    """
    Declare code that runs during a training, for `hooks: [NAME]`, or `[{name: NAME, OPTION: ...}]`.

    The class has `after_update(moment)`, `after_epoch(moment)` or `at_end(moment)`, each with a
    `normlab.diagnostics.moment.Moment`: `moment.model`, whose weights it may change in place,
    `moment.step`, and `moment.metric(name, value)`. With `state_dict()` and
    `load_state_dict(state)` it keeps its state when a job is resumed. The annotated arguments of
    its constructor are the options.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(HOOKS, name, {}, needs)


def diagnostic(
    name: str, *, when: str = "each epoch", needs: Sequence[str] = ()
) -> Callable[[TargetT], TargetT]:
    """
    Declare code that measures a training, for `diagnostics: [NAME]` in jobs.

    It has the methods of a hook, but must not change the training. Random numbers and training
    mode are restored after each call.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        when: a short text on when it reports.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(DIAGNOSTICS, name, {"when": when}, needs)
