"""The trash on the command line: jobs and studies are listed, restored and purged."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Iterator

import pytest

from normlab.cli.application import run
from normlab.cli.trash_lists import moment, studies_too
from normlab.records.keeping import TrashRecord
from service.store.database import Database

from .apis import api_for, asked

NOW = datetime.now(timezone.utc)
FOUND = TrashRecord(jobs=1, studies=2, bytes=0, oldest=NOW, days=30)


@pytest.fixture
def study(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[str]:
    """A study in the trash, with its two jobs."""
    spec = {
        "name": "small batches",
        "base": {"dataset": "digits", "normalizer": "batch"},
        "axes": {"batch_size": [8, 2]},
    }
    (tmp_path / "study.json").write_text(json.dumps(spec))
    with api_for(monkeypatch, database, tmp_path, "admin"):
        found = asked(capsys, "study", "run", str(tmp_path / "study.json"), "--no-wait")["id"]
        asked(capsys, "study", "cancel", found)
        asked(capsys, "rm", "--study", found)
        yield found


def test_a_study_in_the_trash_is_listed_with_the_day_until_which_it_is_kept(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["study", "ls", "--trash"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.rstrip().endswith("kept until")
    assert study[-8:] in row
    assert f"{NOW + timedelta(days=30):%Y-%m-%d}" in row or f"{NOW + timedelta(31):%Y-%m-%d}" in row
    assert [one["id"] for one in asked(capsys, "study", "ls", "--trash")] == [study]
    assert asked(capsys, "study", "ls") == []


def test_a_list_of_deleted_jobs_says_that_studies_are_deleted_too(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ls", "--trash"]) == 0
    said = capsys.readouterr()
    head, *rows = said.out.splitlines()
    assert (head.rstrip().endswith("kept until"), len(rows)) == (True, 2)
    assert said.err == "1 study is in the trash; to list: normlab study ls --trash\n"


@pytest.mark.parametrize("by_name", [True, False])
def test_a_study_in_the_trash_is_restored_by_its_name_or_the_end_of_its_id(
    study: str, capsys: pytest.CaptureFixture[str], by_name: bool
) -> None:
    (back,) = asked(capsys, "restore", "--study", "small batches" if by_name else study[-8:])
    assert (back["id"], back["trashed_at"]) == (study, None)
    assert [one["id"] for one in asked(capsys, "study", "ls")] == [study]
    assert run(["study", "ls", "--trash"]) == 0
    assert capsys.readouterr().err == "no study is in the trash\n"


def test_what_is_about_to_be_purged_is_told_and_listed_as_such(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gc", "--dry-run"]) == 0
    assert "would purge 2 jobs and 1 study" in capsys.readouterr().out
    assert run(["gc"]) == 0
    capsys.readouterr()
    assert run(["study", "ls", "--trash"]) == 0
    assert "being purged" in capsys.readouterr().out


def test_restoring_nothing_says_which_lists_have_what_can_be_restored(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["restore"]) == 2
    assert "normlab ls --trash and normlab study ls --trash list them" in capsys.readouterr().err


def test_a_moment_is_an_age_outside_the_trash() -> None:
    assert moment(None, NOW - timedelta(days=3), None) == "3 d"
    assert moment(FOUND, NOW, NOW - timedelta(days=29)).startswith(f"{NOW + timedelta(1):%Y-%m-%d}")
    assert (studies_too(None), studies_too(FOUND)[:24]) == ("", "2 studies are in the tra")
