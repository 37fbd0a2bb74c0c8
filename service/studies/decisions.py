"""The verdicts of a study that decides, so far."""

from __future__ import annotations

from collections import Counter

from normlab.counting import measured
from normlab.errors import NotFound
from normlab.presentation import deciding
from normlab.presentation.judging import CONTRADICTS, SHOWS
from normlab.records.decisions import DecisionRow, DecisionTable, LookRecord
from normlab.specs.cells import lay_out
from normlab.specs.contrasts import Comparison, comparisons
from normlab.specs.decisions import Decide
from service.store import patience
from service.store.database import Database
from service.store.identity import parse_id
from service.studies import details, looks
from service.studies.decider import first_look, rule_of


def decision(database: Database, study: str) -> DecisionTable:
    """
    Return the verdict of each comparison of *study*, with the looks that led to it.

    Raises:
        NotFound: no such study, or one that decides nothing.
    """
    row, spec = details.stored(database, study)
    decide = spec.decide
    if decide is None:
        raise NotFound(f"study {study} decides nothing: give it `decide`, such as {{by: 0.01}}")
    with database.autocommit() as connection:
        taken = looks.read(connection, parse_id(study, "study"))
    one_seed = spec.model_copy(update={"seeds": spec.seeds[:1]})
    every = comparisons(spec, lay_out(one_seed, patience.check).cells)
    rows = [_row(c, taken.get(c.key, []), decide) for c in every]
    seeds = looks.seeds_of(taken)
    planned = deciding.sizes(seeds[-1] if seeds else first_look(spec, decide), decide.at_most)
    return DecisionTable(
        study=str(row.id),
        state=row.state,
        metric=decide.metric,
        reduction=decide.reduction,
        by=decide.by,
        power=decide.power,
        at_most=decide.at_most,
        rarest=decide.rarest,
        largest_sd=deciding.largest_sd([*seeds[:-1], *planned], rule_of(decide), len(every)),
        counts=dict(Counter(row.verdict for row in rows)),
        rows=rows,
    )


def _row(comparison: Comparison, taken: list[LookRecord], decide: Decide) -> DecisionRow:
    return DecisionRow(
        axis=comparison.axis,
        value=comparison.value,
        against=comparison.against,
        labels=dict(comparison.where),
        verdict=taken[-1].verdict if taken else "undecided",
        words=_words(comparison, taken[-1] if taken else None, decide),
        looks=taken,
    )


def _words(comparison: Comparison, last: LookRecord | None, decide: Decide) -> str:
    value, against = comparison.value, comparison.against
    if last is None:
        return f"{value} and {against} have not been compared yet"
    found = _found(last, decide.metric)
    if last.verdict == SHOWS:
        return f"{value} is better than {against}: {found}{_unseen(last)}"
    if last.verdict == CONTRADICTS and last.high is not None and last.high < 0:
        return f"{value} is worse than {against}: {found}{_unseen(last)}"
    if last.verdict == CONTRADICTS:
        by = measured(decide.metric, decide.by, "g")
        return f"{value} is not better than {against} by {by}: {found}{_unseen(last)}"
    effect = "" if last.seen is None else measured(decide.metric, last.seen, ".2g")
    seen = f"; an effect of {effect} would have shown" if effect else ""
    more = "" if last.more is None else f"; about {last.more} more seeds would decide"
    return f"{value} or {against} is undecided: {found}{seen}{more}"


def _unseen(last: LookRecord) -> str:
    """Describe the events that are too rare to appear in these seeds, and are ignored."""
    if last.unseen is None:
        return ""
    return f", if events that strike fewer than one seed in {1 / last.unseen:.2g} do not matter"


def _found(last: LookRecord, metric: str) -> str:
    without = f", {last.failed} without a value" if last.failed else ""
    ties = f", {last.ties} of them equal" if last.ties else ""
    after = f"after {last.seeds} seeds{ties}{without}"
    if last.mean is None or last.low is None or last.high is None:
        return after
    mean, low, high = (measured(metric, x, ".3g") for x in (last.mean, last.low, last.high))
    return f"{mean} in [{low}, {high}] {after}"
