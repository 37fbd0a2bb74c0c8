"""What an empty list says, and how to make its first item."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Iterator

import pytest

from normlab.cli.application import run
from service.store.database import Database

from .apis import api_for, asked

FIRST_JOB = "normlab submit -s normalizer=batch"


@pytest.fixture(autouse=True)
def _a_stack(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with api_for(monkeypatch, database, tmp_path, "admin"):
        yield


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("ls", FIRST_JOB),
        ("ls --sort -nope/metric", FIRST_JOB),
        ("best", FIRST_JOB),
        ("usage", FIRST_JOB),
        ("study ls", "`normlab study run --help` shows"),
        ("study ls --project default", "`normlab study run --help` shows"),
        ("study ls --archived", "no study is archived"),
        ("token list --owner ada", "normlab token create ada"),
        ("best --filter 'seed = 1'", FIRST_JOB),
        ("plugins", "normlab submit --code FILE.py"),
    ],
)
def test_an_empty_list_is_one_sentence_with_the_way_to_the_first_one(
    capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    assert run(shlex.split(words)) == 0
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err


@pytest.mark.parametrize("words", ["ls", "best", "usage", "study ls", "token list --owner ada"])
def test_an_empty_list_is_an_empty_list_for_programs(
    capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert asked(capsys, *words.split()) == []
    assert run([*words.split(), "-o", "csv"]) == 0
    (head,) = capsys.readouterr().out.splitlines()
    assert head.count(",") > 2


def run_a_study(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    file = folder / "study.json"
    base = {"dataset": "digits", "batch_size": 8}
    file.write_text(json.dumps({"name": "s", "base": base, "axes": {"normalizer": ["batch"]}}))
    asked(capsys, "study", "run", str(file), "--no-wait")


def test_a_list_that_hides_archived_things_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_a_study(capsys, tmp_path)
    asked(capsys, "archive", "--study", "s")
    for words in (["ls"], ["study", "ls"]):
        assert run(words) == 0
        assert capsys.readouterr().err.endswith(f"normlab {' '.join(words)} --archived\n")


def test_a_project_without_studies_says_that_others_have_some(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_a_study(capsys, tmp_path)
    asked(capsys, "project", "create", "vision")
    assert run(["study", "ls", "--project", "vision"]) == 0
    assert capsys.readouterr().err == (
        "no study is in the project vision; `normlab study ls` alone lists all\n"
    )


def test_a_list_that_is_sorted_by_a_metric_of_none_of_its_jobs_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_a_study(capsys, tmp_path)
    assert run(["ls", "--sort", "-nope/metric"]) == 0
    said = capsys.readouterr()
    assert "digits" in said.out
    assert said.err == "no job in this list has reported nope/metric yet\n"
    assert run(["ls", "--sort", "batch_size"]) == 0
    assert capsys.readouterr().err == ""


def test_what_cannot_be_a_metric_is_refused_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["best", "-m", "accuracy"]) == 2
    assert "'accuracy' is not a metric" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("submit -s normalizer=batch -s code=5", "code: 5 is neither a path nor a digest"),
        (
            "limits set --owner ada requests=1",
            "requests: there is no such limit; write LIMIT=NUMBER with one of",
        ),
    ],
)
def test_a_value_of_a_wrong_form_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    assert run(words.split()) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
