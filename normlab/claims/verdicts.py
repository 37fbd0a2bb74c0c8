"""The verdict on a claim: each effect with its interval over seeds, shown or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Protocol, Sequence, Tuple

from normlab.claims.claim import Claim, Effect
from normlab.errors import InvalidSpec
from normlab.presentation.intervals import Estimate, paired_difference, smaller_is_better
from normlab.records import ResultRow, ResultTable


class Results(Protocol):
    """The interface to the results of a study: `client.studies`."""

    def results(
        self,
        study: str,
        *,
        group_by: Sequence[str] | None = None,
        metric: str = "val/accuracy",
        reduction: str = "last",
        interval: str = "t",
        confidence: float = 0.95,
    ) -> ResultTable:
        """Tabulate a metric over the study's cells."""


@dataclass(frozen=True)
class Found:
    """The result for an effect; *why* says what is missing if there is no estimate."""

    effect: Effect
    estimate: Estimate | None
    shows: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    """The result of a study for a claim."""

    claim: Claim
    table: ResultTable
    found: Tuple[Found, ...]

    @property
    def shows(self) -> bool:
        """Whether every effect is as the claim predicts."""
        return all(f.shows for f in self.found)

    @property
    def words(self) -> str:
        """The verdict in words."""
        return "shows" if self.shows else "does not show"


def judge(claim: Claim, studies: Results, study: str) -> Verdict:
    """Compute every effect of *claim* from *study*, and the table to print beside them."""
    tables: Dict[Tuple[str, str], ResultTable] = {}
    found = []
    for effect in claim.effects:
        key = (effect.metric, effect.reduction)
        try:
            if key not in tables:
                tables[key] = studies.results(
                    study,
                    metric=effect.metric,
                    reduction=effect.reduction,
                    confidence=claim.confidence,
                )
        except (
            InvalidSpec
        ) as e:  # no job reported it, such as the logarithm of a value that is not positive
            found.append(Found(effect, None, False, str(e)))
            continue
        found.append(weigh(effect, tables[key].rows, claim.confidence, claim.best_over))
    table = studies.results(
        study,
        group_by=list(claim.group_by) or None,
        metric=claim.metric,
        reduction=claim.reduction,
        confidence=claim.confidence,
    )
    return Verdict(claim, table, tuple(found))


def weigh(
    effect: Effect, rows: Sequence[ResultRow], confidence: float, best_over: str | None = None
) -> Found:
    """
    Compare the two sides of *effect* over the seeds that both have.

    With *best_over*, such as a learning rate, each side has for each seed its value at the rate
    that is best on average over the *other* seeds: no seed influences the choice of its own rate.
    """
    try:
        smaller = smaller_is_better(effect.metric)
        a = _values(rows, effect.a, best_over, smaller)
        if effect.b is not None:
            b = _values(rows, effect.b, best_over, smaller)
        else:
            b = dict.fromkeys(a, effect.than or 0.0)
        estimate = paired_difference(a, b, confidence=confidence)
    except InvalidSpec as e:
        return Found(effect, None, False, str(e))
    if estimate.low is None or estimate.high is None:
        return Found(effect, estimate, False, "one seed has no interval; use two or more")
    return Found(effect, estimate, _holds(effect, estimate.low, estimate.high), "")


def _holds(effect: Effect, low: float, high: float) -> bool:
    if effect.expect == "above":
        return low > effect.by
    if effect.expect == "below":
        return high < -effect.by
    if effect.expect == "not_below":
        return low > -effect.by
    return -effect.by < low and high < effect.by


def _values(
    rows: Sequence[ResultRow], where: Mapping[str, str], best_over: str | None, smaller: bool
) -> Dict[int, float]:
    """
    Return the value at *where* for each seed, at the best value of *best_over*.

    Raises:
        InvalidSpec: there is no value, or there are several cells for one seed, which are never
            averaged.
    """
    settings: Dict[str, List[ResultRow]] = {}
    for row in rows:
        if all(row.labels.get(path) == name for path, name in where.items()):
            settings.setdefault(row.labels.get(best_over or "", ""), []).append(row)
    wanted = ", ".join(f"{path} {name}" for path, name in where.items())
    for matching in settings.values():
        differing = [p for p in matching[0].labels if len({r.labels[p] for r in matching}) > 1]
        if differing:
            raise InvalidSpec(
                f"{wanted} are cells that differ in {', '.join(differing)}, and such cells are "
                "not averaged: give its value on this side of the effect"
            )
    found = best_by_other_seeds([rows[0].values for rows in settings.values()], smaller)
    if not found:
        raise InvalidSpec(f"no {'seed has a value' if settings else 'cell is'} at {wanted}")
    return found


def best_by_other_seeds(
    settings: Sequence[Mapping[int, float]], smaller: bool = False
) -> Dict[int, float]:
    """
    Take each seed's value from the setting whose mean over the other seeds is the best.

    A setting that lacks a seed of the others, because a training diverged, is not a candidate.

    Args:
        settings: for each, a mapping from seed to value.
        smaller: the best mean is the lowest one, not the highest.
    """
    sign = -1 if smaller else 1
    most = max((len(values) for values in settings), default=0)
    whole = [values for values in settings if len(values) == most]
    chosen: Dict[int, float] = {}
    for seed in sorted({seed for values in whole for seed in values}):
        candidates = [values for values in whole if seed in values]
        best = max(candidates, key=lambda values: sign * _mean_without(values, seed))
        chosen[seed] = best[seed]
    return chosen


def _mean_without(values: Mapping[int, float], seed: int) -> float:
    others = [value for other, value in values.items() if other != seed]
    return sum(others) / len(others) if others else values[seed]
