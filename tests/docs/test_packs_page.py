"""The examples of the page on packs are valid, and run as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from normlab.specs.studies import StudySpec

PAGE = Path(__file__).parents[2] / "docs" / "packs.md"


def test_the_example_trains_a_pack_of_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(example, str(PAGE), "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [tuple(line[:2]) for line in lines] == [(s, lr) for s in "01" for lr in ("0.01", "0.1")]
    assert {line[3] for line in lines} == {"4"}


def test_the_study_is_valid_and_asks_for_packs() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    study = StudySpec.model_validate(yaml.safe_load(example))
    assert (study.pack, study.size) == ("auto", 48)
