"""The commands of the page about your own parts run in a fresh folder, with a real stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normlab.client import Client
from normlab.stacks.own import own_stack
from tests.docs.test_pages import SETTINGS, Block, _type, blocks

PAGE = "your-own.md"


def files(folder: Path) -> list[Path]:
    """Write the titled Python blocks of the page, and return their paths."""
    titled = [b for b in blocks(PAGE) if b.language == "python" and b.words]
    for block in titled:
        (folder / block.title()).write_text(block.text)
    return [folder / block.title() for block in titled]


def is_typed(block: Block) -> bool:
    return block.language != "console" and not (block.language == "python" and block.words)


def test_a_reader_who_types_the_page_has_five_parts_of_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    settings = {
        **SETTINGS,
        "NORMLAB_PLUGINS": os.pathsep.join(map(str, files(tmp_path))),
        "NORMLAB_DATA_ROOT": str(tmp_path / "datasets"),
    }
    known: dict[str, Any] = {}
    with own_stack(tmp_path / "stack", settings) as connection:
        monkeypatch.setenv("NORMLAB_URL", connection.url)
        monkeypatch.setenv("NORMLAB_TOKEN", str(connection.token))
        for block in filter(is_typed, blocks(PAGE)):
            _type(block, PAGE, known)
        with Client(connection.url, connection.token) as client:
            jobs = client.page(limit=50).jobs
            assert {job.state for job in jobs} == {"succeeded"}
            named = {record.name: record for record in client.models()}
            assert (named["my_tower"].code, named["my_tower"].channels) == ("my_nets.py", [8])
            details = [client.get(job.id) for job in jobs]
    (measured,) = [job for job in details if job.spec.metrics]
    assert measured.spec.metrics[0].options == {"k": 3}
    assert {"val/top_k", "my_norm/all"} <= set(measured.last)
    assert str(jobs[0].name).startswith("rerun of ")
    said = json.dumps([job.model_dump(mode="json") for job in jobs])
    assert all(name in said for name in ("my_dyt", "my_rms", "my_tower", "my_stripes", "my_line"))


def test_every_section_is_under_a_page() -> None:
    text = (Path(__file__).parents[2] / "docs" / PAGE).read_text()
    for section in text.split("\n## ")[1:]:
        assert len(section.splitlines()) <= 90, section.splitlines()[0]


def test_the_files_of_the_page_need_no_checkout(tmp_path: Path) -> None:
    paths = files(tmp_path)
    for path in paths:
        subprocess.run([sys.executable, path.name], cwd=tmp_path, check=True)
    assert len(paths) == 6
