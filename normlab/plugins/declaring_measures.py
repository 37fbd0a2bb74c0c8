"""The decorators for tasks, metrics, hooks and diagnostics of one's own."""

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

    The class has `loss(output, y)`, the mean over the batch, which may take `label_smoothing` too,
    and, if there is an accuracy, `correct(output, y)`, the number of correct predictions. The
    annotated arguments of its constructor are the options, for `task: {OPTION: ...}` in jobs.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        predicts: what, in words.
        dims: dimensions of a sample's positions: 2 of an image, 1 of a sequence.
        dense: every position has a target, or the sample as a whole.
        classes: a target is an integer class; else a number.
        mixes: loss and accuracy take the targets of mixed samples: means of numbers, or for
            classes their probabilities, (N, K).
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
    Declare a number over the test set, for `metrics: [NAME]`, or `[{name: NAME, OPTION: ...}]`.

    A function of (output, y) returns a number for each sample, whose mean is the metric. A class
    has `tally(output, y)`, a tensor that is summed over the batches, and `value(sums)`; with
    `whole(tallies)` it puts those of the batches together itself, such as by `torch.cat`. Further
    annotated arguments of the function, or those of the constructor, are the options.

    Args:
        name: val/ and lower-case letters, digits and underscores.
        tasks: those that it has a meaning for; none: every one.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(METRICS, name, {"tasks": list(tasks)}, needs)


def hook(name: str, *, needs: Sequence[str] = ()) -> Callable[[TargetT], TargetT]:
    """
    Declare what runs during a training, for `hooks: [NAME]`, or `[{name: NAME, OPTION: ...}]`.

    The class has `after_update(moment)`, `after_epoch(moment)` or `at_end(moment)`, each with a
    `normlab.diagnostics.moment.Moment`: `moment.model`, whose weights it may change in place,
    `moment.step`, and `moment.metric(name, value)`. With `state_dict()` and
    `load_state_dict(state)` it continues where a job is resumed. The annotated arguments of its
    constructor are the options.

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
    Declare what looks at a training, for `diagnostics: [NAME]` in jobs.

    It has the methods of a hook, and must change nothing: random numbers and training mode are
    as they were when it returns.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        when: it reports, in words.
        needs: packages, as for a normalizer.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    return declare(DIAGNOSTICS, name, {"when": when}, needs)
