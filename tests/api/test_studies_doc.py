"""docs/studies.md is correct: its files are studies, its commands parse, its code runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from normlab.cli.application import app
from normlab.specs.cells import expand
from normlab.specs.studies import StudySpec
from service.jobs.conditions import condition
from service.jobs.filters import parse
from service.studies.spaces import refuse_wrong_space
from tests.api.conftest import OPERATORS_TOKEN

PAGE = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
FILES = re.findall(r"<!-- cells: (\w+) -->\s+```yaml\n(.*?)```", PAGE, re.DOTALL)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def lines(language: str) -> list[str]:
    return [line for block in blocks(language) for line in block.splitlines()]


def test_every_file_of_the_page_says_how_many_cells_it_has() -> None:
    assert len(FILES) == len(blocks("yaml")) == 4


@pytest.mark.parametrize(("cells", "text"), FILES)
def test_the_files_have_the_stated_number_of_cells(cells: str, text: str) -> None:
    spec = StudySpec.model_validate(yaml.safe_load(text))
    if cells == "search":
        refuse_wrong_space(spec, lambda _: [])
    else:
        assert len(expand(spec)) == int(cells)


@pytest.mark.parametrize("line", lines("sh"))
def test_the_commands_exist_with_these_options(line: str) -> None:
    words = shlex.split(line.split(" > ")[0], comments=True)
    assert words[0] == "normlab"
    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command = command.commands[rest[0]]
        rest = rest[1:]
    command.make_context(line, rest)  # parses, and raises on unknown options


@pytest.mark.parametrize("line", lines("filter"))
def test_the_filters_are_filters(line: str) -> None:
    assert condition(parse(line)) is not None


def test_the_code_runs(url: str) -> None:
    spec = yaml.safe_load(FILES[0][1])
    (code,) = blocks("python")
    known = {"url": url, "token": OPERATORS_TOKEN, "spec": spec}
    exec(compile(code, "docs/studies.md", "exec"), known)
    assert len(known["rows"]) == 27
    assert [row.without for row in known["table"].rows] == [{"queued": 3}] * 3
