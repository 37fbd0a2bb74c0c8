"""Reports: a claim's verdict for the terminal, and the page of all claims."""

from __future__ import annotations

import re
from typing import List, Sequence

from normlab.claims.claim import Claim, Effect
from normlab.claims.gathering import name_of, settings
from normlab.claims.verdicts import Found, Verdict
from normlab.presentation.deciding import UNDECIDED, Finding, Rule, largest_sd
from normlab.presentation.intervals import smaller_is_better
from normlab.presentation.tables import markdown
from normlab.specs.cells import expand

_EXPLAINED = """\
An effect *shows* if its whole interval over seeds is on the expected side of its limit, and
*contradicts* if the whole interval is on the other side. Otherwise it is *undecided*; then the
line says what this many seeds could have shown. A claim *shows* if every effect shows, and
*contradicts* if any effect contradicts. Intervals are corrected for all effects of a claim (Holm),
for skewness and for repeated looks; ties and failed seeds are counted. A difference of accuracies
counts if it is at least 0.01, and two kinds match if they differ by at most 0.03; so few seeds
cannot resolve much less. If several learning rates were tried, each side of a difference takes,
for each seed, the accuracy at the rate that is best over the *other* seeds; the table shows all
rates. The accuracies are those of a small network on a procedural dataset. Compare signs and order
with the papers, not numbers."""


def effect_lines(verdict: Verdict) -> List[str]:
    """Return one line per effect: the difference, its interval, and the expectation."""
    return [f"{f.verdict:11s}  {_sentence(f)}" for f in verdict.found]


def section(verdict: Verdict, plot: str) -> str:
    """Write the part of the page about one claim; *plot* is the picture's path from the page."""
    claim = verdict.claim
    lines = [f"## {claim.key}: {verdict.words}", "", claim.says, ""]
    lines += [f"- {_linked(source.paper)}, {source.figure}" for source in claim.sources]
    lines += ["", f"Effects: {verdict.counts}. {_protocol(claim)}"]
    lines += ["", "| effect | expected | difference | interval | seeds | verdict |",
              "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [_effect_row(f) for f in verdict.found]
    lines += ["", markdown(verdict.table), *_best_lines(verdict)]
    lines += [f"![{claim.title}]({plot})", ""]
    if claim.published:
        lines += ["Published, for comparison:", ""]
        lines += [f"- {p.what}: {p.value} ({_linked(p.source)})" for p in claim.published]
        lines += [""]
    if claim.note:
        lines += [claim.note, ""]
    return "\n".join(lines)


def page(verdicts: Sequence[Verdict], machine: str, command: str, folder: str) -> str:
    """Write the page of all claims: a table of verdicts, then one section per claim."""
    rows = [
        f"| [{v.claim.key}](#{_anchor(v)}) | {v.claim.title} | {v.words} | {v.counts} |"
        for v in verdicts
    ]
    head = [
        "# The claims of the papers, run here",
        "",
        f"Made by `{command}` on {machine}.",
        "",
        _EXPLAINED,
        "",
        "| claim | what it says | verdict | effects |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(section(v, f"{folder}/{v.claim.key}.png")
                                              for v in verdicts)  # fmt: skip


def list_lines(claims: Sequence[Claim]) -> List[str]:
    """Return one line per claim, with the size of its study."""
    return [f"{c.key:24s} {len(expand(c.study)):4d} jobs  {c.title}" for c in claims]


def _best_lines(verdict: Verdict) -> List[str]:
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
    return [f"Best `{over}` over all seeds: {said}.", ""] if said else []


def _linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _expected(e: Effect) -> str:
    return {
        "above": f"above {e.by:g}",
        "below": f"below {0 - e.by:g}",
        "within": f"within ±{e.by:g}",
        "not_below": f"not below {0 - e.by:g}",
    }[e.expect]


def _protocol(claim: Claim) -> str:
    tuned = f", tuned on seeds {_span(claim.tuning_seeds)}" if claim.tuning_seeds else ""
    said = f"Protocol `{claim.protocol()[:12]}` of `studies/{claim.key}.yaml`{tuned}."
    return f"{said} {_power(claim)}" if claim.decide else said


def _power(claim: Claim) -> str:
    """Say what the rounds of a claim that decides can find."""
    d = claim.decide
    if d is None:
        return ""
    looks = [len(part.seeds) for part in claim.rounds(claim.study)]
    sd = largest_sd(looks, Rule(d.by, d.power, d.at_most), len(claim.effects))
    return (
        f"Up to {looks[-1]} seeds: a difference {d.by:g} inside its limit shows with a power of "
        f"{d.power:g} where differences have a standard deviation of {sd:.2g} or less."
    )


def _span(seeds: Sequence[int]) -> str:
    whole = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def _sentence(f: Found) -> str:
    expected = _expected(f.effect)
    k = f.finding
    if k is None or k.mean is None or k.low is None or k.high is None:
        return f"{f.effect.name}: {f.why} (expected {expected})"
    return (
        f"{f.effect.name}: {k.mean:+.4f} [{k.low:+.4f}, {k.high:+.4f}] "
        f"over {_seeds(k)} seeds (expected {expected}){_undecided(k)}"
    )


def _effect_row(f: Found) -> str:
    k = f.finding
    if k is None or k.mean is None or k.low is None or k.high is None:
        numbers = f"— | {f.why} | {_seeds(k) if k else 0}"
        said = ""
    else:
        numbers = f"{k.mean:+.4f} | {k.low:+.4f} to {k.high:+.4f} | {_seeds(k)}"
        said = _undecided(k)
    return f"| {f.effect.name} | {_expected(f.effect)} | {numbers} | {f.verdict}{said} |"


def _seeds(k: Finding) -> str:
    """Say over how many seeds, and how many of them are ties or failed."""
    parts = [f"{n} {what}" for n, what in ((k.failed, "failed"), (k.ties, "equal")) if n]
    return f"{k.pairs + k.failed}" + (f" ({', '.join(parts)})" if parts else "")


def _undecided(k: Finding) -> str:
    if k.verdict != UNDECIDED or k.seen is None:
        return ""
    more = f", about {k.more} more seeds would decide" if k.more is not None else ""
    return f": {k.seen:.2g} inside the limit would have shown{more}"


def _anchor(v: Verdict) -> str:
    return f"{v.claim.key}-{v.words}".replace(" ", "-")
