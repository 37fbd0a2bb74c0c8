"""A claim's verdict in words: for the terminal, and parts of the page of all claims."""

from __future__ import annotations

import re
from typing import List, Sequence

from normlab.claims.claim import Claim, Effect
from normlab.claims.gathering import name_of, settings
from normlab.claims.verdicts import ClaimVerdict, EffectResult
from normlab.presentation.deciding import largest_sd
from normlab.presentation.intervals import smaller_is_better
from normlab.presentation.judging import UNDECIDED, LookResult, Rule
from normlab.specs.cells import expand, label


def effect_lines(verdict: ClaimVerdict) -> List[str]:
    """Return one line per effect: the difference, its interval, and the expectation."""
    return [f"{f.verdict:11s}  {_sentence(f)}" for f in verdict.found]


def list_lines(claims: Sequence[Claim]) -> List[str]:
    """Return one line per claim, with the number of jobs before seeds are added."""
    return [f"{c.key:24s} {jobs_of(c):4d} jobs  {c.title}" for c in claims]


def jobs_of(claim: Claim) -> int:
    """Count the jobs of the tuning seeds, and of their choices on the first judging seeds."""
    cells = expand(claim.study)
    if not claim.tuning_seeds:
        return len(cells)
    judging = len(claim.study.seeds)
    combinations = [{p: label(v) for p, v in c.coordinates.items()} for c in cells[::judging]]
    rest = {tuple(v for p, v in c.items() if p != claim.best_over) for c in combinations}
    return len(combinations) * len(claim.tuning_seeds) + len(rest) * judging


def best_lines(verdict: ClaimVerdict) -> List[str]:
    """Return the value of `best_over` at which each setting has its best mean."""
    over = verdict.claim.best_over
    if over is None or over not in verdict.table.group_by:
        return []
    sign = -1 if smaller_is_better(verdict.claim.metric) else 1
    best = []
    for group in settings(verdict.table.rows, over):
        most = max(row.n for row in group)  # a row in which a seed diverged is not a candidate
        whole = [row for row in group if row.mean is not None and row.n == most]
        if whole:
            best.append(max(whole, key=lambda row: sign * (row.mean or 0.0)))
    said = ", ".join(f"{name_of(row, over)} {row.labels[over]}" for row in best)
    how = "Chosen" if verdict.claim.tuning_seeds else "Best"
    whose = "by the tuning seeds" if verdict.claim.tuning_seeds else "over all seeds"
    return [f"{how} `{over}` {whose}: {said}.", ""] if said else []


def linked(text: str) -> str:
    """Return *text* with a link for each arXiv id."""
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _expected(e: Effect) -> str:
    return {
        "above": f"above {e.by:g}",
        "below": f"below {0 - e.by:g}",
        "within": f"within ±{e.by:g}",
        "not_below": f"not below {0 - e.by:g}",
    }[e.expect]


def protocol(claim: Claim) -> str:
    """Name the protocol by its file and hash, and say which effects its seeds can detect."""
    tuned = f", tuned on seeds {span(claim.tuning_seeds)}" if claim.tuning_seeds else ""
    said = f"Protocol `{claim.protocol()[:12]}` of `studies/{claim.key}.yaml`{tuned}."
    return f"{said} {_power(claim)}" if claim.decide else said


def _power(claim: Claim) -> str:
    """Say which effects the rounds of a claim can detect."""
    d = claim.decide
    if d is None:
        return ""
    looks = [len(part.seeds) for part in claim.rounds(claim.study)]
    sd = largest_sd(looks, Rule(d.by, d.power, d.at_most), len(claim.effects))
    return (
        f"Up to {looks[-1]} seeds: a difference {d.by:g} inside its limit shows with a power of "
        f"{d.power:g} where differences have a standard deviation of {sd:.2g} or less."
    )


def span(seeds: Sequence[int]) -> str:
    """Return the seeds as text."""
    whole = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def _sentence(f: EffectResult) -> str:
    expected = _expected(f.effect)
    k = f.finding
    if k is None or k.mean is None or k.low is None or k.high is None:
        return f"{f.effect.name}: {f.why} (expected {expected})"
    return (
        f"{f.effect.name}: {k.mean:+.4f} [{k.low:+.4f}, {k.high:+.4f}] "
        f"over {_seeds(k)} seeds (expected {expected}){_undecided(k)}"
    )


def effect_row(f: EffectResult) -> str:
    """Return an effect's row of the table."""
    k = f.finding
    if k is None or k.mean is None or k.low is None or k.high is None:
        numbers = f"— | {f.why} | {_seeds(k) if k else 0}"
        said = ""
    else:
        numbers = f"{k.mean:+.4f} | {k.low:+.4f} to {k.high:+.4f} | {_seeds(k)}"
        said = _undecided(k)
    return f"| {f.effect.name} | {_expected(f.effect)} | {numbers} | {f.verdict}{said} |"


def _seeds(k: LookResult) -> str:
    """Return the number of seeds, with the numbers of ties and failed ones."""
    parts = [f"{n} {what}" for n, what in ((k.failed, "failed"), (k.ties, "equal")) if n]
    return f"{k.pairs + k.failed}" + (f" ({', '.join(parts)})" if parts else "")


def _undecided(k: LookResult) -> str:
    if k.verdict != UNDECIDED or k.seen is None:
        return ""
    more = f", about {k.more} more seeds would decide" if k.more is not None else ""
    return f": {k.seen:.2g} inside the limit would have shown{more}"
