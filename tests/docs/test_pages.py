"""The commands and code of the tutorials run here, in order, against a real stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["quickstart.md", "tutorials/small-batches.md", "tutorials/convert.md"]
PAGES += ["how-to/own-layer.md", "how-to/large-data.md", "how-to/weights.md"]
PAGES += ["how-to/detect-and-stylize.md", "how-to/several-hosts.md", "how-to/recipes.md"]
SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "2", "OMP_NUM_THREADS": "1"}


class Block(NamedTuple):
    language: str
    words: str  # after the language: a title, {.fails} for an exit code of 2, or {.exits-1}
    text: str

    def title(self) -> str:
        found = re.fullmatch(r'title="([\w.-]+)"', self.words)
        assert found, f"a {self.language} block needs a title, not {self.words!r}"
        return found[1]


def blocks(page: str) -> list[Block]:
    found = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```", (DOCS / page).read_text(), re.S | re.M)
    return [Block(language, words.strip(), text) for language, words, text in found]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def connection(data_root: Path) -> Iterator[Connection]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-docs-"))
        settings = {**SETTINGS, "NORMLAB_DATA_ROOT": str(data_root)}
        yield stack.enter_context(own_stack(Path(folder), settings))


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_on_the_page_work_as_described(
    page: str,
    connection: Connection,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NORMLAB_URL", connection.url)
    monkeypatch.setenv("NORMLAB_TOKEN", str(connection.token))
    monkeypatch.setenv("NORMLAB_DATA_ROOT", str(data_root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    known: dict[str, Any] = {}
    typed = [block for block in blocks(page) if block.language != "console"]
    assert typed
    for block in typed:
        _type(block, page, known)


def _type(block: Block, page: str, known: dict[str, Any]) -> None:
    if block.language == "yaml":
        Path(block.title()).write_text(block.text)
    elif block.language == "python":
        exec(compile(block.text, page, "exec"), known)
    else:
        assert block.language == "sh", block.language
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        expected = {"": 0, "{.fails}": 2, "{.exits-1}": 1}[block.words]
        assert done.returncode == expected, done.stdout + done.stderr
