"""Reports: a claim's verdict for the terminal, and the page of all claims."""

from __future__ import annotations

import re
from typing import List, Sequence

from normlab.claims.claim import Claim, Effect
from normlab.claims.gathering import name_of, settings
from normlab.claims.verdicts import Found, Verdict
from normlab.presentation.intervals import smaller_is_better
from normlab.presentation.tables import markdown
from normlab.specs.cells import expand

_EXPLAINED = """\
A claim *shows* if every effect that it predicts has its whole 95 % interval over seeds on the
expected side. Otherwise it *does not show* at this scale. A difference of accuracies counts if it
is at least 0.01, and two kinds match if they differ by at most 0.03; so few seeds cannot resolve
much less. If several learning rates were tried, each side of a difference takes, for each seed,
the accuracy at the rate that is best over the *other* seeds; the table shows all rates. The
accuracies are those of a small network on a procedural dataset. Compare signs and order with the
papers, not numbers."""


def effect_lines(verdict: Verdict) -> List[str]:
    """Return one line per effect: the difference, its interval, and the expectation."""
    return [f"{'yes' if f.shows else 'no '}  {_sentence(f)}" for f in verdict.found]


def section(verdict: Verdict, plot: str) -> str:
    """Write the part of the page about one claim; *plot* is the picture's path from the page."""
    claim = verdict.claim
    lines = [f"## {claim.key}: {verdict.words}", "", claim.says, ""]
    lines += [f"- {_linked(source.paper)}, {source.figure}" for source in claim.sources]
    lines += ["", "| effect | expected | difference | 95 % interval | seeds | shows |",
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
        f"| [{v.claim.key}](#{_anchor(v)}) | {v.claim.title} | {v.words} | "
        f"{sum(f.shows for f in v.found)} of {len(v.found)} |"
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


def _sentence(f: Found) -> str:
    e = f.effect
    expected = _expected(e)
    if f.estimate is None or f.estimate.low is None or f.estimate.high is None:
        return f"{e.name}: {f.why} (expected {expected})"
    return (
        f"{e.name}: {f.estimate.mean:+.4f} [{f.estimate.low:+.4f}, {f.estimate.high:+.4f}] "
        f"over {f.estimate.n} seeds (expected {expected})"
    )


def _effect_row(f: Found) -> str:
    e = f.effect
    if f.estimate is None or f.estimate.low is None or f.estimate.high is None:
        numbers = f"— | {f.why} | {f.estimate.n if f.estimate else 0}"
    else:
        numbers = (
            f"{f.estimate.mean:+.4f} | {f.estimate.low:+.4f} to {f.estimate.high:+.4f} "
            f"| {f.estimate.n}"
        )
    return f"| {e.name} | {_expected(e)} | {numbers} | {'yes' if f.shows else 'no'} |"


def _anchor(v: Verdict) -> str:
    return f"{v.claim.key}-{v.words}".replace(" ", "-")
