"""The verdict on a claim: each effect shows, is contradicted, or is undecided by its seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Protocol, Sequence, Tuple

from normlab.claims.claim import Claim, Effect
from normlab.errors import InvalidSpec
from normlab.presentation import deciding
from normlab.presentation.intervals import smaller_is_better
from normlab.presentation.judging import CONTRADICTS, SHOWS, UNDECIDED, LookResult, Rule, Sample
from normlab.presentation.mean_bounds import SMALLEST
from normlab.records import ResultRow, ResultTable

WORDS = (SHOWS, CONTRADICTS, UNDECIDED)
_POWER = 0.9  # if a claim names none


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
class EffectResult:
    """The result for an effect; *why* says what is missing if there is no estimate."""

    effect: Effect
    finding: LookResult | None
    why: str = ""

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return self.finding.verdict if self.finding else UNDECIDED


@dataclass(frozen=True)
class ClaimVerdict:
    """The result of a study for a claim."""

    claim: Claim
    table: ResultTable
    found: Tuple[EffectResult, ...]
    tuned: ResultTable | None = None
    """The results of the tuning seeds, one row per combination; None if there are no such seeds."""
    ran: str = ""
    """For how long, where and when its jobs ran, in words; empty if it is unknown."""

    @property
    def words(self) -> str:
        """*shows* if every effect does, *contradicts* if any does, else *undecided*."""
        each = [f.verdict for f in self.found]
        if CONTRADICTS in each:
            return CONTRADICTS
        return SHOWS if all(word == SHOWS for word in each) else UNDECIDED

    @property
    def counts(self) -> str:
        """The number of effects by verdict, in words."""
        each = [f.verdict for f in self.found]
        return ", ".join(f"{each.count(v)} {v}" for v in WORDS if v in each)


def judge(
    claim: Claim, studies: Results, study: str, seeds: Sequence[int], looks: Sequence[int]
) -> ClaimVerdict:
    """
    Judge every effect of *claim* from *study*, and return the table to print next to it.

    All looks are taken again from the first on, each with its own seeds, so earlier decisions never
    change. All effects are one family, corrected by Holm's method.

    Args:
        claim: the claim to judge.
        studies: the source of results.
        study: its id.
        seeds: the judging seeds, in the order in which they were added.
        looks: the number of seeds at each look; one look without `decide`.
    """
    tables: Dict[Tuple[str, str], List[ResultRow] | str] = {}
    for effect in claim.effects:
        key = (effect.metric, effect.reduction)
        if key not in tables:
            tables[key] = _rows(studies, study, effect)
    table = studies.results(
        study,
        group_by=list(claim.group_by) or None,
        metric=claim.metric,
        reduction=claim.reduction,
        confidence=claim.confidence,
    )
    rows = [tables[e.metric, e.reduction] for e in claim.effects]
    return ClaimVerdict(claim, table, weigh(claim, rows, seeds, looks))


def weigh(
    claim: Claim,
    rows: Sequence[List[ResultRow] | str],
    seeds: Sequence[int],
    looks: Sequence[int],
) -> Tuple[EffectResult, ...]:
    """
    Compare the two sides of each effect, look after look.

    Args:
        claim: the claim to judge.
        rows: the rows of each effect, or the reason why there are none.
        seeds: the judging seeds, in the order in which they were added.
        looks: the number of seeds at each look.
    """
    found = [EffectResult(effect, None) for effect in claim.effects]
    rule = _rule(claim, len(seeds))
    for i, n in enumerate(looks, 1):
        samples: Dict[int, Sample] = {}
        for k, effect in enumerate(claim.effects):
            if found[k].verdict == UNDECIDED:
                sample = _sample(claim, effect, rows[k], seeds[:n])
                if isinstance(sample, str):
                    found[k] = EffectResult(effect, None, sample)
                else:
                    samples[k] = sample
        decided = [f.verdict for f in found if f.verdict != UNDECIDED]
        new = deciding.look(samples, looks[:i], rule, len(found), decided)
        for k, finding in new.items():
            why = f"needs {SMALLEST} seeds or more" if finding.low is None else ""
            found[k] = EffectResult(claim.effects[k], finding, why)
    return tuple(found)


def _rule(claim: Claim, seeds: int) -> Rule:
    if claim.decide is None:
        return Rule(0.0, _POWER, seeds)
    return Rule(claim.decide.by, claim.decide.power, claim.decide.at_most)


def _rows(studies: Results, study: str, effect: Effect) -> List[ResultRow] | str:
    try:
        return studies.results(study, metric=effect.metric, reduction=effect.reduction).rows
    except InvalidSpec as e:  # no job reported it, such as the log of 0
        return str(e)


def _sample(
    claim: Claim, effect: Effect, rows: List[ResultRow] | str, seeds: Sequence[int]
) -> Sample | str:
    """Return the differences of *seeds*; seeds without a value on one side count as failed."""
    if isinstance(rows, str):
        return rows
    try:
        a = _values(claim, effect, rows, effect.a, seeds)
        b = dict.fromkeys(a, effect.than or 0.0)
        if effect.b is not None:
            b = _values(claim, effect, rows, effect.b, seeds)
    except InvalidSpec as e:
        return str(e)
    shared = [seed for seed in seeds if seed in a and seed in b]
    whole = tuple(a[seed] - b[seed] for seed in shared)
    return Sample(whole, len(seeds) - len(shared), effect.claimed)


def _values(
    claim: Claim,
    effect: Effect,
    rows: Sequence[ResultRow],
    where: Mapping[str, str],
    seeds: Sequence[int],
) -> Dict[int, float]:
    """
    Return the value at *where* for each of *seeds*, at the best value of `best_over`.

    Tuning seeds have chosen one value before; without them, each seed takes the value that is best
    on average over the *other* seeds, so no seed influences its own choice.

    Raises:
        InvalidSpec: there is no value, or there are several cells for one seed, which are never
            averaged.
    """
    settings = _settings(rows, where, claim.best_over)
    wanted = [{seed: of[seed] for seed in seeds if seed in of} for of in settings]
    found = best_by_other_seeds(wanted, smaller_is_better(effect.metric))
    if not found:
        named = ", ".join(f"{path} {name}" for path, name in where.items())
        raise InvalidSpec(f"no {'seed has a value' if settings else 'cell is'} at {named}")
    return found


def _settings(
    rows: Sequence[ResultRow], where: Mapping[str, str], best_over: str | None
) -> List[Mapping[int, float]]:
    """List the values by seed of each cell at *where*: one for each value of *best_over*."""
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
                f"not averaged: give a value for it on this side of the effect"
            )
    return [matching[0].values for matching in settings.values()]


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
