"""Tuning: choose settings on some seeds, to judge them on others."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

from normlab.claims.claim import Claim
from normlab.claims.gathering import settings
from normlab.errors import InvalidSpec
from normlab.presentation.intervals import smaller_is_better
from normlab.records import ResultRow
from normlab.specs.studies import StudySpec


def tuning_study(claim: Claim, study: StudySpec) -> StudySpec | None:
    """Return *study* with the seeds that choose; None if nothing is chosen."""
    if not claim.tuning_seeds:
        return None
    name = f"{study.name}, tuning"[:200]
    return study.model_copy(update={"seeds": claim.tuning_seeds, "name": name})


def chosen(claim: Claim, rows: Sequence[ResultRow]) -> Tuple[ResultRow, ...]:
    """
    Take the row with the best mean at each setting of the paths other than `best_over`.

    A row in which a seed has no value, because its training diverged, is no candidate.

    Args:
        claim: one with tuning seeds.
        rows: of the study with these seeds, one per combination.

    Raises:
        InvalidSpec: no row of a setting has a value for every seed.
    """
    sign = -1 if smaller_is_better(claim.metric) else 1
    best = []
    for group in settings(rows, claim.best_over):
        whole = [row for row in group if set(claim.tuning_seeds) <= set(row.values)]
        if not whole:
            named = ", ".join(f"{path} {name}" for path, name in group[0].labels.items())
            raise InvalidSpec(f"nothing to choose: a training failed at each of {named}, ...")
        best.append(max(whole, key=lambda row: sign * (row.mean or 0.0)))
    return tuple(best)


def judging_study(study: StudySpec, best: Sequence[ResultRow]) -> StudySpec:
    """Return *study* with the combinations of *best* alone, as one axis."""
    axis: Dict[str, Tuple[Any, ...]] = {
        path: tuple(row.coordinates[path] for row in best) for path in study.paths
    }
    return study.model_copy(update={"axes": (axis,), "exclude": ()})
