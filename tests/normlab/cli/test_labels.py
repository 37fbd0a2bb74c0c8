"""`normlab rename`, `note`, `tag` and `archive`, and the lists that ask for archived things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest

from normlab.cli.application import run
from service.store.database import Database

from .apis import api_for, asked

JOB = ["-s", "normalizer=batch", "-s", "dataset.name=digits", "-s", "batch_size=8"]


@pytest.fixture(autouse=True)
def _a_stack(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with api_for(monkeypatch, database, tmp_path, "submit"):
        yield


def test_jobs_are_renamed_noted_tagged_and_archived(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = asked(capsys, "submit", *JOB)["id"]
    (study_file := tmp_path / "s.yaml").write_text(
        "{name: small, base: {dataset: {name: digits}, batch_size: 8}, seeds: 2, axes: "
        "{normalizer: [layer]}}"
    )
    study = asked(capsys, "study", "run", str(study_file), "--no-wait")["id"]
    assert asked(capsys, "rename", "second", job[-8:])[0]["name"] == "second"
    assert asked(capsys, "note", "a note", job)[0]["note"] == "a note"
    assert asked(capsys, "tag", job, "--add", "paper", "-a", "old")[0]["tags"] == ["paper", "old"]
    assert asked(capsys, "tag", "-s", "small", "--add", "paper")[0]["tags"] == ["paper"]
    assert asked(capsys, "tag", job, "--remove", "old")[0]["tags"] == ["paper"]
    assert len(asked(capsys, "ls", "--filter", "tag = paper")) == 3
    assert run(["show", job]) == 0
    assert "a note" in capsys.readouterr().out
    asked(capsys, "archive", job, "--study", "small")
    assert (asked(capsys, "ls"), asked(capsys, "study", "ls")) == ([], [])
    assert len(asked(capsys, "ls", "--archived")) == 3
    assert [one["id"] for one in asked(capsys, "study", "ls", "--archived")] == [study]
    asked(capsys, "archive", "--undo", job[-8:])
    assert [one["id"] for one in asked(capsys, "ls")] == [job]


def test_what_was_done_before_an_error_is_printed_by_each_command_for_several_jobs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = asked(capsys, "submit", *JOB)["id"]
    for words in (
        ["cancel"],
        ["rename", "second"],
        ["note", "a note"],
        ["tag", "--add", "paper"],
        ["archive"],
        ["rm"],
        ["restore"],
    ):
        assert run([*words, job, "nosuch"]) == 2, words
        said = capsys.readouterr()
        assert said.out.startswith(f"{job}  "), words
        assert "nosuch" in said.err


@pytest.mark.parametrize("words", [["cancel"], ["note", "a note"]])
def test_json_of_what_was_done_before_an_error_is_one_document(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    job = asked(capsys, "submit", *JOB)["id"]
    assert run([*words, job, "nosuch", "--json"]) == 2
    said = capsys.readouterr()
    assert [one["id"] for one in json.loads(said.out)] == [job]
    assert said.err.startswith("normlab: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["archive"], "name jobs, or studies with --study"),
        (["tag", "x"], "name tags with --add or --remove"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
