"""`normlab project`, and where the other commands take a project."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from normlab.cli.application import run
from normlab.events import ArtifactWritten, Finished
from service.jobs import leases
from service.results import reports
from service.store.database import Database

from .apis import api_for, asked

JOB = ["-s", "normalizer=batch", "-s", "dataset.name=digits", "-s", "batch_size=8"]
STUDY = (
    "{name: s, base: {dataset: {name: digits}, batch_size: 8}, axes: {normalizer: [batch, layer]}}"
)


@pytest.fixture(autouse=True)
def _as_an_admin(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.delenv("NORMLAB_PROJECT", raising=False)
    with api_for(monkeypatch, database, tmp_path, "admin"):
        yield


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_project_is_made_gets_members_and_loses_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["project", "create", "vision", "--note", "the vision group"]) == 0
    assert run(["project", "add", "vision", "ada", "--role", "read"]) == 0
    assert run(["project", "add", "vision", "ada"]) == 0
    capsys.readouterr()
    members = asked(capsys, "project", "members", "vision")
    assert [(m["owner"], m["role"]) for m in members] == [("ada", "submit"), ("grace", "admin")]
    assert run(["project", "remove", "vision", "ada"]) == 0
    capsys.readouterr()
    default, vision = asked(capsys, "project", "list")
    assert (default["name"], [m["owner"] for m in default["members"]]) == ("default", ["*"])
    assert (vision["note"], vision["role"], len(vision["members"])) == (
        "the vision group", "admin", 1
    )  # fmt: skip
    assert "project 'vision' exists already" in refused(capsys, "project", "create", "vision")
    assert "name: " in refused(capsys, "project", "create", "Vi sion")
    assert "there is no project 'x'" in refused(capsys, "project", "add", "x", "ada")
    assert "'ada' is not a member" in refused(capsys, "project", "remove", "vision", "ada")


def test_jobs_and_studies_go_where_the_option_or_the_environment_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(STUDY)
    assert run(["project", "create", "vision"]) == 0
    assert run(["submit", *JOB]) == 0
    capsys.readouterr()
    one = asked(capsys, "submit", *JOB, "--project", "vision")["id"]
    study = asked(capsys, "study", "run", str(grid), "--no-wait", "--project", "vision")
    assert study["project"] == "vision"
    assert len(asked(capsys, "ls")) == 4
    assert asked(capsys, "study", "ls", "--project", "default") == []
    monkeypatch.setenv("NORMLAB_PROJECT", "vision")
    assert {job["project"] for job in asked(capsys, "ls")} == {"vision"}
    assert len(asked(capsys, "ls", "--project", "default")) == 1
    assert asked(capsys, "show", one)["project"] == "vision"
    asked(capsys, "submit", *JOB, "-s", "seed=3")
    assert len(asked(capsys, "ls", "--filter", "project = vision")) == 4
    assert "there is no project 'x'" in refused(capsys, "submit", *JOB, "--project", "x")


def test_limits_are_set_shown_and_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["limits", "set", "--owner", "grace", "queued=1", "running=2"]
    assert {one["what"]: one["most"] for one in asked(capsys, *words)}["queued"] == 1
    assert run(["submit", *JOB]) == 0
    capsys.readouterr()
    shown = {one["what"]: (one["most"], one["used"]) for one in asked(capsys, "limits", "show")}
    assert (shown["queued"], shown["running"]) == ((1, 1), (2, 0))
    assert run(["limits", "show"]) == 0
    assert "owner grace" in capsys.readouterr().out
    more = ["queued=none", "storage_bytes=1.5GiB", "priority=-1", "device_hours_per_month=40"]
    found = asked(capsys, "limits", "set", "--owner", "grace", *more)
    assert {one["what"]: one["most"] for one in found} == {
        "queued": 20_000, "running": 2, "devices": None, "device_hours_per_month": 40,
        "storage_bytes": 3 << 29, "priority": -1, "requests_per_minute": None,
    }  # fmt: skip
    assert "0 is above -1, the highest that 'grace' may ask for" in refused(capsys, "submit", *JOB)
    assert "'lots' is not a size; write bytes, or a unit such as 200GB" in refused(
        capsys, "limits", "set", "--owner", "grace", "storage_bytes=lots"
    )
    asked(capsys, "limits", "set", "--owner", "grace", "priority=none")
    assert run(["submit", *JOB, "-s", "seed=1"]) == 0
    assert "lots: there is no such limit; write LIMIT=NUMBER with one of queued, " in refused(
        capsys, "limits", "set", "--owner", "grace", "lots"
    )
    assert "either --owner or --project" in refused(capsys, "limits", "set", "queued=1")


def test_what_a_project_keeps_is_set_and_the_collector_shows_what_would_go(
    capsys: pytest.CaptureFixture[str], database: Database
) -> None:
    asked(capsys, "submit", *JOB)
    mine = leases.claim(database, "cpu", "w", 30)
    assert mine is not None
    weights = ArtifactWritten(
        name="weights.safetensors", path=f"/x/{mine.job}/w", sha256="5" * 64, bytes=2048
    )
    assert reports.keep_all(database, mine, [weights])
    assert leases.finish(database, mine, Finished(step=1, summary={}))
    kept = asked(capsys, "project", "keep", "default", "weights_days=0", "logs_days=none")
    assert (kept["weights_days"], kept["logs_days"]) == (0, None)
    assert asked(capsys, "gc", "--dry-run")["expired"] == [
        {"job": str(mine.job), "kind": "weights", "files": ["weights.safetensors"], "bytes": 2048}
    ]
    assert run(["gc", "--dry-run"]) == 0
    assert "would remove 2.0 KiB of 1 job " in capsys.readouterr().out
    assert run(["gc"]) == 0
    assert "removed 2.0 KiB of 1 job " in capsys.readouterr().out
    assert asked(capsys, "gc", "--dry-run")["expired"] == []
    assert run(["project", "keep", "default"]) == 0
    assert "0 days" in capsys.readouterr().out
    assert "'lots' is not a number of days" in refused(
        capsys, "project", "keep", "default", "logs_days=lots"
    )
    assert "the rules are checkpoints_days, weights_days, logs_days" in refused(
        capsys, "project", "keep", "default", "logs=90"
    )
    assert "such as logs_days=90" in refused(capsys, "project", "keep", "default", "logs_days")
