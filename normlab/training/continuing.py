"""Whether a longer training would have made the same updates so far. Needs no torch."""

from __future__ import annotations

from typing import Iterator, List, Optional

from normlab.errors import FieldProblem
from normlab.specs.jobs import JobSpec, under_its_code
from normlab.specs.normalizers import BY_KIND
from normlab.specs.schedules import SCHEDULES
from normlab.specs.sizes import total_steps
from normlab.training.schedules import factor

_LOOKS = 20_000  # updates of a very long training whose rates are compared
_ANYWAY = "--anyway (anyway: true) continues with the longer schedule from here"


def too_short(after: JobSpec, done: int, per_epoch: int) -> List[FieldProblem]:
    """Return the problem that *after* has no more updates than the *done* ones; empty if it has."""
    longer = total_steps(after, per_epoch) or 0
    if longer > done:
        return []
    rule = f"{longer} updates in total were requested, and {done} are done already; request more"
    return [FieldProblem("epochs" if after.max_steps is None else "max_steps", rule)]


def differences(before: JobSpec, after: JobSpec, done: int, per_epoch: int) -> List[FieldProblem]:
    """
    Return why *after* would not have made the first *done* updates as *before* did.

    Args:
        before, after: the same job, except for its length.
        done: updates.
        per_epoch: updates in an epoch.
    """
    return list(_differences(before, after, done, per_epoch))


def _differences(
    before: JobSpec, after: JobSpec, done: int, per_epoch: int
) -> Iterator[FieldProblem]:
    steps, longer = total_steps(before, per_epoch) or 0, total_steps(after, per_epoch) or 0
    known = _has_known_rates(after)
    change = _first_change(after, done, steps, longer, per_epoch) if known else None
    if not known:
        rule = f"{after.schedule.name!r} is from a plugin, and may depend on the training's length"
        yield FieldProblem("schedule", f"{rule}; {_ANYWAY}")
    elif change is not None:
        rule = (
            f"{after.schedule.name!r} depends on the length of the training: in {longer} updates, "
            f"update {change} would have had {_rate(after, change, longer, per_epoch):.4g} of the "
            f"learning rate, and had {_rate(after, change, steps, per_epoch):.4g}; {_ANYWAY}"
        )
        yield FieldProblem("schedule", rule)
    follows = _follows_progress(after)
    if follows is not None:
        yield FieldProblem("normalizer", f"{after.normalizer.kind!r} {follows}; {_ANYWAY}")
    if after.ema is not None and after.ema.start > 0:
        rule = f"weights are averaged from the share {after.ema.start:g} of the training on"
        yield FieldProblem("ema.start", f"{rule}, which is another update; {_ANYWAY}")
    if done == steps and done % per_epoch:
        rule = (
            f"{done} updates end within an epoch of {per_epoch}, where the job took its results, "
            f"which a longer one would not; {_ANYWAY}"
        )
        yield FieldProblem("max_steps", rule)


def _first_change(
    spec: JobSpec, done: int, steps: int, longer: int, per_epoch: int
) -> Optional[int]:
    stride = -(-done // _LOOKS)
    looks: List[int] = [*range(1, done, stride), done]
    for step in looks:
        if _rate(spec, step, steps, per_epoch) != _rate(spec, step, longer, per_epoch):
            return step
    return None


def _rate(spec: JobSpec, step: int, steps: int, per_epoch: int) -> float:
    return factor(spec.schedule, step, steps, per_epoch)


@under_its_code
def _has_known_rates(spec: JobSpec) -> bool:
    # the code of a plugin is not run in this process
    return SCHEDULES.plugin_of(spec.schedule.name) is None


@under_its_code
def _follows_progress(spec: JobSpec) -> Optional[str]:
    """Return how the normalizer depends on the length of the training; None if it does not."""
    if BY_KIND.plugin_of(spec.normalizer.kind) is not None:
        return "is from a plugin, and may depend on the finished share of the training"
    if spec.normalizer.follows_progress:
        return "depends on the finished share of the training"
    return None
