"""Every command that a page or a file for operators shows is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from normlab.cli.application import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "how-to").glob("*.md"),
         *(DOCS / "tutorials").glob("*.md")]  # fmt: skip
OTHERS = [*(ROOT / "monitoring").glob("*.yml"), *(ROOT / "charts").rglob("*.txt")]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.S | re.M)
ON_A_LINE = re.compile(r"^[ $]*(?:[A-Z_]+=\S+ )*(normlab [^\n]*)", re.M)
QUOTED = re.compile(r"`(normlab [^`]*)`")
ENDS = re.compile(r"[|&;<>]|[12]>.*")
NORMLAB: Any = typer.main.get_command(app)
# of click, wherever typer found it
USAGE: Any = typer.BadParameter.__mro__[1]
INCOMPLETE = ("MissingParameter", "BadParameter")  # `normlab show` in a sentence; files of readers


def commands(file: Path) -> Iterator[str]:
    text = file.read_text().replace("\\\n", " ").replace('\\"', '"')
    yield from QUOTED.findall(text)
    for block in FENCED.findall(text) if file.suffix == ".md" else [text]:
        yield from ON_A_LINE.findall(block)


def refusal(command: str) -> str | None:
    """Return what is wrong with the names in *command*."""
    words = shlex.split(command, comments=True)[1:]
    ends = [i for i, word in enumerate(words) if ENDS.fullmatch(word)]
    group = NORMLAB
    name, context, rest = "normlab", None, words[: ends[0]] if ends else words
    try:
        while True:
            context = group.make_context(name, list(rest), parent=context)
            if not hasattr(group, "resolve_command") or not (rest := left(context)):
                return None
            name, group, rest = group.resolve_command(context, rest)
    except USAGE as e:
        return None if type(e).__name__ in INCOMPLETE else str(e.format_message())
    except typer.Exit:  # a group alone, or --help
        return None


def left(context: Any) -> list[str]:
    return [*context._protected_args, *context.args]


@pytest.mark.parametrize("file", sorted([*PAGES, *OTHERS]), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(file: Path) -> None:
    wrong = {command: refusal(command) for command in commands(file)}
    assert {command: why for command, why in wrong.items() if why} == {}


def test_a_wrong_option_is_found() -> None:
    assert refusal("normlab token create --owner ada")
    assert refusal("normlab tokens list")
    assert refusal("normlab token list --owner ada | grep x") is None
