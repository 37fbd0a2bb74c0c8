"""Estimate the work of a claim by stages: its tuning seeds, then each round of judging seeds."""

from __future__ import annotations

from typing import Iterator, List

from normlab.claims.claim import Claim
from normlab.claims.tuning import tuning_study
from normlab.specs import costs
from normlab.specs.cells import Cell, expand
from normlab.specs.sizes import steps
from normlab.specs.studies import StudySpec

UNKNOWN_S = 10.0  # seconds of a job whose cost is unknown


def stages(claim: Claim, study: StudySpec) -> List[float]:
    """
    List the seconds that each stage of *claim* would take on one core, without packs.

    They are meant for ratios. All rounds that a decision may need are included; a claim that is
    decided earlier skips some. The chosen rate of each kind is not known, so a judging seed counts
    as the mean of the rates.

    Args:
        study: the result of `claim.at`.
    """
    return list(_stages(claim, study))


def _stages(claim: Claim, study: StudySpec) -> Iterator[float]:
    tuning = tuning_study(claim, study)
    share = 1.0
    if tuning is not None:
        yield _work_s(tuning)
        share = 1 / _values(study, claim.best_over)
    per_seed_s = share * _work_s(study.model_copy(update={"seeds": study.seeds[:1]}))
    before = 0
    for part in claim.rounds(study):
        yield per_seed_s * (len(part.seeds) - before)
        before = len(part.seeds)


def _work_s(study: StudySpec) -> float:
    return sum(_job_s(cell) for cell in expand(study))


def _job_s(cell: Cell) -> float:
    found = costs.job_s(cell.spec, steps(cell.spec))
    return UNKNOWN_S if found is None else found


def _values(study: StudySpec, path: str | None) -> int:
    """Count the values of *path*, of which the tuning seeds choose one."""
    return next((len(axis[path]) for axis in study.axes if path in axis), 1) if path else 1
