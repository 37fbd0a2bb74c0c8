"""The text about each kind of normalizer: its section of the documentation, formula first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

import normlab

# in a checkout, and in an installed wheel
_PAGES = (
    Path(__file__).parents[1] / "docs" / "normalizers.md",
    Path(normlab.__file__).parent / "docs" / "normalizers.md",
)
_SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.S | re.M)
_FACTS = re.compile(r"<!-- facts: \w+ -->.*?<!-- end of facts -->", re.S)
_MARKED = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_FIRST = re.compile(r"^(.*?[.;])(?=\s[A-Z]|\s[a-z]+ )(.*)", re.S)
_INDENT = " " * 4  # the indentation of a block of formulas
_BLOCK = re.compile(r"```\w*\n(.*?)```", re.S)


@dataclass(frozen=True)
class KindText:
    """The formula of a kind as one sentence, and the paragraphs after it, in parts."""

    formula: str
    paragraphs: tuple[tuple[tuple[str, str], ...], ...]
    """The parts of each paragraph: `text`, `code`, `strong` or `pre`, and the words."""


_NOTHING = KindText("", ())


def text_of(kind: str) -> KindText:
    """Return what the documentation says about *kind*; nothing for a plugin's kind."""
    return _texts().get(kind, _NOTHING)


@cache
def _texts() -> dict[str, KindText]:
    page = next((path for path in _PAGES if path.exists()), None)
    if page is None:
        return {}
    found = _SECTION.findall(page.read_text(encoding="utf-8"))
    return {kind: _text(section) for kind, section in found}


def _text(section: str) -> KindText:
    told = _FACTS.sub("", section).split("\n\n")
    paragraphs = [p.strip("\n").rstrip() for p in told if p.strip()]
    formula, rest = "", paragraphs
    begun = _FIRST.match(paragraphs[0]) if paragraphs and " = " in paragraphs[0][:60] else None
    if begun is not None:
        formula = " ".join(begun[1].rstrip(";").replace("`", "").split())
        rest = [begun[2].strip(), *paragraphs[1:]]
    return KindText(formula, tuple(_parts(p) for p in rest if p))


def _parts(paragraph: str) -> tuple[tuple[str, str], ...]:
    block = _BLOCK.fullmatch(paragraph)
    if block is not None:
        return (("pre", block[1].rstrip()),)
    if paragraph.startswith(_INDENT):
        return (("pre", dedent(paragraph)),)
    return tuple(map(_part, _MARKED.split(" ".join(paragraph.split()))))


def _part(text: str) -> tuple[str, str]:
    link = _LINK.fullmatch(text)
    if link is not None:
        return "text", link[1]
    if text.startswith("`"):
        return "code", text.strip("`")
    if text.startswith("**"):
        return "strong", text.strip("*")
    return "text", text
