"""The page of all claims: how many show, a gallery, and a section for each claim."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence

from normlab.claims import report
from normlab.claims.claim import Claim
from normlab.claims.gathering import readable
from normlab.claims.verdicts import WORDS, ClaimVerdict
from normlab.presentation.judging import CONTRADICTS, SHOWS, UNDECIDED
from normlab.presentation.tables import markdown

_COLUMNS = 3  # columns of the gallery
_LINE = re.compile(r"^\| \[([\w-]+)\]\(#[\w-]+\) \| (.+?) \| (\w+) \| (.*?) \|$", re.M)
_COUNT = re.compile(rf"(\d+) ({'|'.join(WORDS)})")
_EXPLAINED = """\
An effect *shows* if its whole interval over seeds is on the expected side of its limit, and
*contradicts* if the whole interval is on the other side. Otherwise it is *undecided*; then the
line says what this many seeds could have shown. A claim *shows* if every effect shows, and
*contradicts* if any effect contradicts. Intervals are corrected for all effects of a claim (Holm),
for skewness and for repeated looks; ties and failed seeds are counted. Limits, margins and seeds
were written down and committed before the judging seeds ran, and rates were tuned on other seeds;
the history of each claim says what came out of earlier protocols. The accuracies are those of
small networks on small datasets. Compare signs and order with the papers, not numbers."""


class Entry(NamedTuple):
    """One claim on the page."""

    key: str
    title: str
    words: str
    counts: str
    """The number of effects by verdict."""
    text: str
    """Its section."""

    @property
    def anchor(self) -> str:
        """Return the anchor of its heading."""
        return f"{self.key}-{self.words}"


def entry(verdict: ClaimVerdict, folder: str) -> Entry:
    """
    Describe the result for a claim.

    Args:
        verdict: the verdict of a run.
        folder: the path of the pictures, relative to the page.
    """
    claim = verdict.claim
    text = section(verdict, f"{folder}/{claim.key}.png")
    return Entry(claim.key, claim.title, verdict.words, verdict.counts, text)


def kept(text: str, claims: Mapping[str, Claim]) -> Dict[str, Entry]:
    """
    Find the claims on an earlier page, if their questions have not changed.

    Args:
        text: the text of the page.
        claims: the current claims, by key; one with another protocol has no result any more.
    """
    found: Dict[str, Entry] = {}
    for key, title, words, counts in _LINE.findall(text):
        _, _, rest = text.partition(f"\n## {key}: {words}\n")
        body = rest.partition("\n## ")[0].rstrip("\n") + "\n"
        claim = claims.get(key)
        if claim is not None and f"Protocol `{claim.protocol()[:12]}`" in body:
            found[key] = Entry(key, title, words, counts, f"## {key}: {words}\n{body}")
    return found


def page(entries: Sequence[Entry], lacking: Sequence[Claim], folder: str) -> str:
    """
    Write the page.

    Args:
        entries: the claims with results, in the order of the page.
        lacking: the other claims.
        folder: the path of the pictures, relative to the page.
    """
    head = [
        "# The claims of the papers, run here",
        "",
        _headline(entries),
        "",
        *_gallery(entries, folder),
        "",
        _EXPLAINED,
        "",
        "| claim | what it says | verdict | effects |",
        "| --- | --- | --- | --- |",
        *(f"| [{e.key}](#{e.anchor}) | {e.title} | {e.words} | {e.counts} |" for e in entries),
        *(f"| {c.key} | {c.title} | not run with this protocol | |" for c in lacking),
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(e.text for e in entries)


def section(verdict: ClaimVerdict, plot: str) -> str:
    """
    Write the part of the page about one claim.

    Args:
        verdict: the verdict of a run.
        plot: the picture's path from the page.
    """
    claim = verdict.claim
    lines = [f"## {claim.key}: {verdict.words}", "", f"**{sentence(verdict)}**", ""]
    lines += [f"![{claim.title}]({plot})", "", claim.says, ""]
    lines += [f"- {report.linked(source.paper)}, {source.figure}" for source in claim.sources]
    lines += ["", _how(verdict), ""]
    lines += ["| effect | expected | difference | interval | seeds | verdict |",
              "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [report.effect_row(f) for f in verdict.found]
    lines += ["", markdown(readable(verdict.table)), *report.best_lines(verdict), *_tuned(verdict)]
    return "\n".join([*lines, *_remarks(claim)])


def sentence(verdict: ClaimVerdict) -> str:
    """Return the result in one sentence."""
    of = {word: [f for f in verdict.found if f.verdict == word] for word in WORDS}
    many = len(verdict.found)
    if verdict.words == SHOWS:
        seeds = max((f.finding.pairs for f in verdict.found if f.finding), default=0)
        each = "The effect shows" if many == 1 else f"Each of {many} effects shows"
        return f"{each}, with up to {seeds} seeds."
    named = "; ".join(f.effect.name for f in of[verdict.words])
    if verdict.words == CONTRADICTS:
        against = len(of[CONTRADICTS])
        verb = "contradicts" if against == 1 else "contradict"
        return f"{against} of {many} {verb} what was claimed: {named}."
    return f"{len(of[UNDECIDED])} of {many} cannot be decided with these seeds: {named}."


def _headline(entries: Sequence[Entry]) -> str:
    each = [e.words for e in entries]
    claims = ", ".join(f"**{each.count(word)}** {word}" for word in WORDS)
    effects = Counter[str]()
    for e in entries:
        effects.update({word: int(n) for n, word in _COUNT.findall(e.counts)})
    parts = ", ".join(f"{effects[word]} {word}" for word in WORDS)
    return f"{len(each)} claims: {claims}. {sum(effects.values())} effects: {parts}."


def _gallery(entries: Sequence[Entry], folder: str) -> Iterator[str]:
    """One picture for each claim, as a table, because Markdown has no other grid."""
    for i in range(0, len(entries), _COLUMNS):
        row = list(entries[i : i + _COLUMNS])
        blank = [""] * (_COLUMNS - len(row))
        pictures = [f"[![{e.title}]({folder}/{e.key}.png)](#{e.anchor})" for e in row]
        captions = [f"**{e.words}**: {e.title}" for e in row]
        yield "| " + " | ".join([*pictures, *blank]) + " |"
        if not i:
            yield "| " + " | ".join([":---:"] * _COLUMNS) + " |"
        yield "| " + " | ".join([*captions, *blank]) + " |"


def _how(verdict: ClaimVerdict) -> str:
    took = f" Its jobs ran for {verdict.ran}." if verdict.ran else ""
    key = verdict.claim.key
    return (
        f"`normlab reproduce {key.partition('-')[0]}`. Effects: {verdict.counts}. "
        f"{report.protocol(verdict.claim)}{took}"
    )


def _tuned(verdict: ClaimVerdict) -> List[str]:
    if verdict.tuned is None:
        return []
    said = f"The search, on tuning seeds {report.span(verdict.claim.tuning_seeds)} alone:"
    return [said, "", markdown(readable(verdict.tuned))]


def _remarks(claim: Claim) -> Iterator[str]:
    """Yield the remarks in the claim's file."""
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
