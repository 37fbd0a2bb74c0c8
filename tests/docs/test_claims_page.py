"""The committed page of claims has the words of the claims' files and of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from normlab.claims import report
from normlab.claims.claim import Claim, load_claims
from normlab.claims.verdicts import Verdict
from normlab.records import ResultTable

PAGE = (Path(__file__).parents[2] / "docs" / "claims.md").read_text(encoding="utf-8")
CLAIMS = load_claims()


def without_results(claim: Claim) -> Verdict:
    table = ResultTable(
        study="s", metric="m", reduction="last", interval="t", confidence=0.95, rows=[], group_by=[]
    )
    return Verdict(claim, table, ())


def section_of(key: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {key}: ")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_the_section_of_a_claim_has_the_words_of_its_file(claim: Claim) -> None:
    section = section_of(claim.key)
    assert [e.name for e in claim.effects if f"\n| {e.name} | " not in section] == []
    before, _, after = report.section(without_results(claim), f"claims/{claim.key}.png").partition(
        "| effect |"
    )
    words = [*before.splitlines()[1:], *after.partition("![")[2].splitlines()]
    assert [line for line in words if line not in section] == []


def test_the_page_explains_the_verdicts_as_the_report_does() -> None:
    head = report.page([], "a machine", "normlab reproduce", "claims").split("\n\n")
    assert [part for part in head[2:] if part.rstrip() not in PAGE] == []


def test_the_table_of_verdicts_has_the_titles_of_the_files() -> None:
    assert [c.title for c in CLAIMS.values() if f" | {c.title} | " not in PAGE] == []
