"""The verdict on a claim: each effect with its interval over seeds, shown or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Protocol, Sequence, Tuple

from normlab.claims.claim import Claim, Effect
from normlab.errors import InvalidSpec
from normlab.intervals import Estimate, paired_difference
from normlab.records import ResultRow, ResultTable


class Results(Protocol):
    """Who answers what a study found: `client.studies`."""

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
    """An effect as it came out; *why* says what is missing where there is no estimate."""

    effect: Effect
    estimate: Estimate | None
    shows: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim."""

    claim: Claim
    table: ResultTable
    found: Tuple[Found, ...]

    @property
    def shows(self) -> bool:
        """Whether every effect came out as the claim predicts."""
        return all(f.shows for f in self.found)

    @property
    def words(self) -> str:
        """The verdict in words."""
        return "shows" if self.shows else "does not show"


def judge(claim: Claim, studies: Results, study: str) -> Verdict:
    """Ask *study* for every effect of *claim*, and for the table to print beside it."""
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
        except InvalidSpec as e:  # no job reported it: a log of what is not positive, say
            found.append(Found(effect, None, False, str(e)))
            continue
        found.append(weigh(effect, tables[key].rows, claim.confidence))
    table = studies.results(
        study,
        group_by=list(claim.group_by) or None,
        metric=claim.metric,
        reduction=claim.reduction,
        confidence=claim.confidence,
    )
    return Verdict(claim, table, tuple(found))


def weigh(effect: Effect, rows: Sequence[ResultRow], confidence: float) -> Found:
    """Compare the two sides of *effect* over the seeds that both have."""
    a = _values(rows, effect.a)
    b = _values(rows, effect.b) if effect.b is not None else dict.fromkeys(a, effect.than or 0.0)
    try:
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
    return -effect.by < low and high < effect.by


def _values(rows: Sequence[ResultRow], where: Mapping[str, str]) -> Dict[int, float]:
    """Average, for each seed, what the rows at *where* have."""
    matching: List[ResultRow] = [
        row for row in rows if all(row.labels.get(path) == name for path, name in where.items())
    ]
    seeds = sorted({seed for row in matching for seed in row.values})
    complete = [s for s in seeds if all(s in row.values for row in matching)]
    return {s: sum(row.values[s] for row in matching) / len(matching) for s in complete}
