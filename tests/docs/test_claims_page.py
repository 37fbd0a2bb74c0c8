"""The page of claims has the words of the files, and verdicts that follow from its intervals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List

import pytest

from normlab.claims import page
from normlab.claims.claim import Claim
from normlab.claims.loading import load_claims
from normlab.claims.verdicts import ClaimVerdict
from normlab.records import ResultTable

PAGE = (Path(__file__).parents[2] / "docs" / "claims.md").read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| .+? \| (above|below|within|not below) ±?(-?[\d.]+) \| [+-][\d.]+ "
    r"\| ([+-][\d.]+) to ([+-][\d.]+) \| [^|]+ \| (\w+)[^|]*\|$",
    re.M,
)
SECTIONS: Dict[str, str] = {
    match[1]: match[0] for match in re.finditer(r"^## ([\w-]+): .*?(?=^## |\Z)", PAGE, re.M | re.S)
}
every_section = pytest.mark.parametrize("key", SECTIONS)


def word(expected: str, limit: float, low: float, high: float) -> str:
    if expected == "within":
        inside, outside = -limit < low and high < limit, low > limit or high < -limit
    elif expected == "below":
        inside, outside = high < limit, low > limit
    else:
        inside, outside = low > limit, high < limit
    return "shows" if inside else "contradicts" if outside else "undecided"


def words(section: str) -> List[str]:
    return [row[4] for row in _ROW.findall(section)]


@every_section
def test_each_word_is_that_of_its_interval(key: str) -> None:
    rows = _ROW.findall(SECTIONS[key])
    assert rows
    for expected, limit, low, high, said in rows:
        assert said == word(expected, float(limit), float(low), float(high))


@every_section
def test_a_claims_word_and_its_line_in_the_list_are_those_of_its_effects(key: str) -> None:
    each = words(SECTIONS[key])
    whole = "shows" if set(each) == {"shows"} else "undecided"
    whole = "contradicts" if "contradicts" in each else whole
    counted = ", ".join(
        f"{each.count(w)} {w}" for w in ("shows", "contradicts", "undecided") if w in each
    )
    assert SECTIONS[key].startswith(f"## {key}: {whole}\n")
    (line,) = re.findall(rf"^\| \[{key}\].*$", PAGE, re.M)
    assert line.startswith(f"| [{key}](#{key}-{whole}) |")
    assert line.endswith(f"| {whole} | {counted} |")


CLAIMS = load_claims()


def without_results(claim: Claim) -> ClaimVerdict:
    table = ResultTable(
        study="s", metric="m", reduction="last", interval="t", confidence=0.95, rows=[], group_by=[]
    )
    return ClaimVerdict(claim, table, ())


def section_of(key: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {key}: ")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_the_section_of_a_claim_has_the_words_of_its_file(claim: Claim) -> None:
    if claim.key not in SECTIONS:
        assert f"| {claim.key} | {claim.title} | not run with this protocol | |" in PAGE
        return
    section = section_of(claim.key)
    assert [e.name for e in claim.effects if f"\n| {e.name} | " not in section] == []
    written = page.section(without_results(claim), f"claims/{claim.key}.png")
    head, _, rest = written.partition("| effect |")
    words = [w for w in [*head.splitlines()[3:], *rest.splitlines()[4:]] if w[:1] != "|"]
    of_results = ("`normlab reproduce", "Chosen ", "The search", "val/", "m (")
    assert [w for w in words if w not in section and not w.startswith(of_results)] == []
    assert f"Protocol `{claim.protocol()[:12]}` of `studies/{claim.key}.yaml`" in section


def test_the_page_explains_verdicts_as_the_report_does() -> None:
    explained = page.page([], [], "claims").split("\n\n")[2]
    assert "A claim *shows* if every effect shows" in " ".join(explained.split())
    assert explained in PAGE


def test_the_table_of_verdicts_has_the_titles_of_the_files() -> None:
    assert [c.title for c in CLAIMS.values() if f" | {c.title} | " not in PAGE] == []


def test_the_headline_counts_the_claims_of_the_page() -> None:
    counted = re.search(r"^(\d+) claims: (.*?)\. ", PAGE, re.M)
    assert counted
    claims = int(counted[1])
    shows, contradicts, undecided = map(int, re.findall(r"\*\*(\d+)\*\*", counted[2]))
    assert claims == shows + contradicts + undecided == len(SECTIONS)
    assert len(re.findall(r"\[!\[[^]]+\]\(claims/[\w-]+\.png\)\]", PAGE)) == claims
