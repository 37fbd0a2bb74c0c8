"""The page of all claims: how many show, a gallery, and a section for each claim."""

from __future__ import annotations

from typing import Iterator, List, Sequence

from normlab.claims import report
from normlab.claims.claim import Claim
from normlab.claims.verdicts import WORDS, Verdict
from normlab.presentation.deciding import CONTRADICTS, SHOWS, UNDECIDED
from normlab.presentation.tables import markdown

_COLUMNS = 3  # of the gallery
_EXPLAINED = """\
An effect *shows* if its whole interval over seeds is on the expected side of its limit, and
*contradicts* if the whole interval is on the other side. Otherwise it is *undecided*; then the
line says what this many seeds could have shown. A claim *shows* if every effect shows, and
*contradicts* if any effect contradicts. Intervals are corrected for all effects of a claim (Holm),
for skewness and for repeated looks; ties and failed seeds are counted. Limits, margins and seeds
were written down and committed before the judging seeds ran, and rates were tuned on other seeds;
the history of each claim says what came out of earlier protocols. The accuracies are those of
small networks on small datasets. Compare signs and order with the papers, not numbers."""


def page(verdicts: Sequence[Verdict], machine: str, command: str, folder: str) -> str:
    """
    Write the page.

    Args:
        verdicts: of the claims, in the order of the page.
        machine: that ran the jobs.
        command: that made the page.
        folder: of the pictures, from the page.
    """
    head = [
        "# The claims of the papers, run here",
        "",
        _headline(verdicts),
        "",
        *_gallery(verdicts, folder),
        "",
        f"Made by `{command}` on {machine}.",
        "",
        _EXPLAINED,
        "",
        "| claim | what it says | verdict | effects |",
        "| --- | --- | --- | --- |",
        *(
            f"| [{v.claim.key}](#{anchor(v)}) | {v.claim.title} | {v.words} | {v.counts} |"
            for v in verdicts
        ),
        "",
    ]
    sections = (section(v, f"{folder}/{v.claim.key}.png") for v in verdicts)
    return "\n".join(head) + "\n" + "\n".join(sections)


def section(verdict: Verdict, plot: str) -> str:
    """Write the part of the page about one claim; *plot* is the picture's path from the page."""
    claim = verdict.claim
    lines = [f"## {claim.key}: {verdict.words}", "", f"**{sentence(verdict)}**", ""]
    lines += [f"![{claim.title}]({plot})", "", claim.says, ""]
    lines += [f"- {report.linked(source.paper)}, {source.figure}" for source in claim.sources]
    lines += ["", _how(verdict), ""]
    lines += ["| effect | expected | difference | interval | seeds | verdict |",
              "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [report.effect_row(f) for f in verdict.found]
    lines += ["", markdown(verdict.table), *report.best_lines(verdict), *_tuned(verdict)]
    return "\n".join([*lines, *_remarks(claim)])


def sentence(verdict: Verdict) -> str:
    """Say in one sentence what came out."""
    of = {word: [f for f in verdict.found if f.verdict == word] for word in WORDS}
    many = len(verdict.found)
    if verdict.words == SHOWS:
        seeds = max((f.finding.pairs for f in verdict.found if f.finding), default=0)
        each = "The effect shows" if many == 1 else f"Each of {many} effects shows"
        return f"{each}, with up to {seeds} seeds."
    named = "; ".join(f.effect.name for f in of[verdict.words])
    if verdict.words == CONTRADICTS:
        return f"{len(of[CONTRADICTS])} of {many} contradicts what was claimed: {named}."
    return f"{len(of[UNDECIDED])} of {many} cannot be decided with these seeds: {named}."


def anchor(verdict: Verdict) -> str:
    """Return the anchor of a claim's heading."""
    return f"{verdict.claim.key}-{verdict.words}"


def _headline(verdicts: Sequence[Verdict]) -> str:
    each = [v.words for v in verdicts]
    effects = [f.verdict for v in verdicts for f in v.found]
    claims, parts = (
        ", ".join(f"**{of.count(word)}** {word}" for word in WORDS) for of in (each, effects)
    )
    return f"{len(each)} claims: {claims}. {len(effects)} effects: {parts}."


def _gallery(verdicts: Sequence[Verdict], folder: str) -> Iterator[str]:
    """One picture for each claim, as a table: pages of Markdown have no other grid."""
    for i in range(0, len(verdicts), _COLUMNS):
        row = list(verdicts[i : i + _COLUMNS])
        blank = [""] * (_COLUMNS - len(row))
        pictures = [f"[![{v.claim.title}]({folder}/{v.claim.key}.png)](#{anchor(v)})" for v in row]
        captions = [f"**{v.words}**: {v.claim.title}" for v in row]
        yield "| " + " | ".join([*pictures, *blank]) + " |"
        if not i:
            yield "| " + " | ".join([":---:"] * _COLUMNS) + " |"
        yield "| " + " | ".join([*captions, *blank]) + " |"


def _how(verdict: Verdict) -> str:
    took = "" if verdict.seconds is None else f" Its jobs ran for {_duration(verdict.seconds)}."
    key = verdict.claim.key
    return (
        f"`normlab reproduce {key.partition('-')[0]}`. Effects: {verdict.counts}. "
        f"{report.protocol(verdict.claim)}{took}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _tuned(verdict: Verdict) -> List[str]:
    if verdict.tuned is None:
        return []
    said = f"The search, on tuning seeds {report.span(verdict.claim.tuning_seeds)} alone:"
    return [said, "", markdown(verdict.tuned)]


def _remarks(claim: Claim) -> Iterator[str]:
    """Yield what the claim's file says besides what is asked."""
    if claim.published:
        yield from ("Published, for comparison:", "")
        yield from (f"- {p.what}: {p.value} ({report.linked(p.source)})" for p in claim.published)
        yield ""
    if claim.note:
        yield from (claim.note, "")
    if claim.lacks:
        yield from (f"What this data lacks: {claim.lacks}", "")
    if claim.tried:
        yield from ("Tried before the protocol was written down:", "")
        yield from (f"- {t.what}: {t.found}" for t in claim.tried)
        yield ""
    if claim.history:
        yield from ("History:", "")
        for e in claim.history:
            yield f"- {e.date}: {e.protocol}" + (f"; {e.verdict}" if e.verdict else "")
        yield ""
