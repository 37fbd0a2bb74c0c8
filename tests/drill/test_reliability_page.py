"""The page of guarantees names existing tests and every fault of the drill."""

from __future__ import annotations

import re
from pathlib import Path

from tests.drill.faults import FAULTS

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "reliability.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 10
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (HOUSE / path).read_text()
    ]
    assert not missing


def test_the_page_describes_every_fault() -> None:
    described = re.findall(r"^\| ([^|]+?) \|", PAGE, re.MULTILINE)
    assert not [fault for fault in FAULTS if fault not in described]
