from pathlib import Path

import pytest

from normlab.specs import normalizer_facts
from normlab.specs.normalizers import BY_KIND

PAGE = (Path(__file__).parents[3] / "docs" / "normalizers.md").read_text(encoding="utf-8")


def test_the_facts_on_the_page_are_those_of_the_specs() -> None:
    assert normalizer_facts.fill(PAGE) == PAGE, "run python -m normlab.specs.normalizer_facts"


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_kind_has_a_section_with_its_facts(kind: str) -> None:
    assert f"\n## {kind}\n" in PAGE
    assert normalizer_facts.options_of(kind) in PAGE


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_option_is_in_its_section(kind: str) -> None:
    facts = normalizer_facts.options_of(kind) + normalizer_facts.proxy_options()
    for name in set(BY_KIND[kind].model_fields) - {"kind"}:
        assert f"| `{name}` |" in facts


def test_limits_are_shown() -> None:
    assert "| `momentum` | `0.1` | number ≥ 0, ≤ 1 or null |" in PAGE
    assert "| `grouping` | `contiguous` | `contiguous`, `strided` |" in PAGE
