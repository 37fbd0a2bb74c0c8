"""The command line with a real stack: servers, API, worker, jobs."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.cli.application import run
from normlab.client import Client
from normlab.errors import InvalidSpec, NotFound
from normlab.stacks.connection import Connection
from normlab.stacks.running import running_stacks

from .conftest import QUICK, Run

DIGITS = ["-s", "dataset.name=digits", "-s", "dataset.train_size=128", "-s", "threads=1"]
SMALL = [*DIGITS, "-s", "dataset.test_size=64", "-s", "epochs=2", "-s", "normalizer=batch"]
SETTINGS = {**QUICK, "NORMLAB_SLOTS": "1"}


@pytest.fixture(scope="module")
def trained(client: Client) -> str:
    """The id of a job that has succeeded."""
    spec = {"normalizer": "batch", "dataset": {"name": "digits", "train_size": 128}}
    ended = client.wait(client.submit({**spec, "epochs": 2, "threads": 1}).id, timeout_s=240)
    assert ended.state == "succeeded", ended.error
    return ended.id


def test_a_job_is_submitted_watched_and_done(cli: Run) -> None:
    code, out, err = cli("submit", *SMALL, "--wait")
    assert code == 0, err
    assert "succeeded" in out
    assert "epoch 2/2" in err


def test_a_job_that_fails_is_exit_1_with_its_reason(cli: Run) -> None:
    diverging = ["-s", "normalizer=none", "-s", "optimizer.lr=1000", "-s", "epochs=20"]
    code, out, _ = cli("submit", *SMALL, *diverging, "--wait")
    assert code == 1
    assert "failed" in out
    assert "user: " in out


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("batch_size=0", "batch_size"),
        ("batch_size=100000", "batch_size"),
        ("no_such_field=1", "no_such_field"),
        ("epochs=many", "epochs"),
        ("normalizer={kind: group, groups: 3}", "normalizer.groups"),
        ("dataset.name=imagenet", "dataset.name"),
        ("optimizer.lr=.nan", "optimizer.lr"),
        ("normalizer=no_such", "normalizer"),
    ],
)
def test_bad_input_is_one_line_with_the_field_and_exit_2(
    cli: Run, override: str, field: str
) -> None:
    for subcommand in ("submit", "validate"):
        code, out, err = cli(subcommand, *SMALL[:-2], "-s", "normalizer=batch", "-s", override)
        assert (code, out) == (2, "")
        assert err.startswith(f"normlab: {field}: ")
        assert err.count("\n") == 1


def test_validate_says_where_it_would_run(cli: Run) -> None:
    code, out, _ = cli("validate", *SMALL, "--json")
    found = json.loads(out)
    assert (code, found["device"], found["samples_per_update"]) == (0, "cpu", 32)
    assert found["device_reason"]


def test_the_same_key_is_the_same_job(cli: Run) -> None:
    line = ["submit", *SMALL, "-s", "epochs=0", "--key", "only-once", "--json"]
    first, second = (json.loads(cli(*line)[1])["id"] for _ in range(2))
    assert first == second


SHOWN = ["ls", "show JOB", "logs JOB", "export JOB", "tail JOB", "best", "normalizers"]
SHOWN += ["normalizers group", "models", "datasets", "devices", "parts", "plugins", "usage"]
SHOWN += ["limits show", "project list", "project members default", "study ls"]


@pytest.mark.parametrize("shown", SHOWN)
def test_everything_that_is_shown_is_also_written_for_programs(
    cli: Run, trained: str, shown: str
) -> None:
    line = shown.replace("JOB", trained).split()
    code, for_people, why_none = cli(*line)
    assert code == 0
    assert bool(for_people.strip()) != bool(why_none) or line[0] == "logs"
    forms = {form: cli(*line, "-o", form) for form in ("json", "yaml", "csv")}
    assert {code for code, _, _ in forms.values()} == {0}
    found = json.loads(forms["json"][1])
    assert json.loads(cli(*line, "--json")[1]).__class__ is found.__class__
    assert yaml.safe_load(forms["yaml"][1]).__class__ is found.__class__
    head, *rows = csv.reader(io.StringIO(forms["csv"][1]))
    assert all(len(row) == len(head) for row in rows)


def test_curves_and_differences_have_a_row_each_in_csv(cli: Run, trained: str) -> None:
    other = json.loads(cli("submit", *SMALL, "-s", "epochs=0", "-o", "json")[1])["id"]
    told = csv.DictReader(io.StringIO(cli("diff", trained, other, "-o", "csv")[1]))
    assert {row["field"]: (row[trained], row[other]) for row in told}["epochs"] == ("2", "0")
    points = csv.DictReader(io.StringIO(cli("tail", trained, "-m", "val/loss", "-o", "csv")[1]))
    assert [(one["metric"], one["step"]) for one in points] == [
        ("val/loss", "4"),
        ("val/loss", "8"),
    ]


def test_a_shown_job_names_its_kinds_and_its_non_default_options(cli: Run, trained: str) -> None:
    _, out, _ = cli("show", trained)
    spec = json.loads(out[out.index("{") :])
    assert spec["normalizer"] == {"kind": "batch"}
    assert spec["dataset"] == {"name": "digits", "train_size": 128}
    assert spec["epochs"] == 2
    assert "label_smoothing" not in spec


def test_metrics_are_exported_as_csv(cli: Run, trained: str) -> None:
    _, out, _ = cli("export", trained, "--metric", "val/accuracy")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["metric"] for row in rows] == ["val/accuracy"] * 2
    assert all(0 <= float(row["value"]) <= 1 for row in rows)


def test_files_of_a_job_are_downloaded(cli: Run, trained: str, tmp_path: Path) -> None:
    code, out, err = cli("export", trained, "--artifacts", "--to", str(tmp_path / "out"))
    assert code == 0, err
    assert (tmp_path / "out" / "metrics.csv").exists()
    assert all(Path(line).stat().st_size for line in out.splitlines())


def test_cancelling_an_ended_job_is_refused_and_changes_nothing(cli: Run, trained: str) -> None:
    code, _, err = cli("cancel", trained)
    assert code == 2
    assert "succeeded" in err


def test_an_unknown_job_is_exit_2(cli: Run) -> None:
    code, _, err = cli("show", "nope")
    assert code == 2
    assert "nope" in err


@pytest.mark.parametrize("part", [slice(-8, None), slice(None, 30), slice(-4, None)])
def test_a_unique_part_of_an_id_is_accepted(
    cli: Run, client: Client, trained: str, part: slice
) -> None:
    short = trained[part].upper()
    for verb in ("show", "watch", "logs", "export"):
        code, _, err = cli(verb, short)
        assert code == 0, err
    assert client.artifacts(short) == client.artifacts(trained)
    assert json.loads(cli("show", short, "--json")[1])["id"] == trained
    code, _, err = cli("cancel", short)
    assert code == 2
    assert trained in err


def test_an_ambiguous_part_of_an_id_is_refused_and_the_ids_are_listed(
    cli: Run, client: Client, trained: str
) -> None:
    other = client.submit({"normalizer": "batch", "priority": -100, "device": "ipu"}).id
    code, _, err = cli("show", trained[:4])
    client.cancel(other)
    assert code == 2
    assert trained in err
    assert other in err


def test_a_part_that_no_id_has_is_not_found(cli: Run, trained: str) -> None:
    code, _, err = cli("show", "0000abcd0000")
    assert code == 2
    assert "no job" in err


def test_a_list_in_80_columns_shows_what_tells_jobs_apart(
    cli: Run, client: Client, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normlab.cli.output.console", lambda: Console(width=80, highlight=False))
    _, out, _ = cli("ls")
    assert "…" not in out
    shorts = [line.split()[0] for line in out.splitlines()[1:] if line.strip()]
    assert trained[-8:] in shorts
    assert [client.get(short).id[-8:] for short in shorts] == shorts


def test_the_stack_is_listed_among_the_running_ones(connection: Connection) -> None:
    deadline = time.monotonic() + 120  # it reports this after it has closed its connection
    while time.monotonic() < deadline:
        if connection in [stack.connection for stack in running_stacks()]:
            return
        time.sleep(0.05)
    pytest.fail("no command finds it")


def test_the_events_of_a_job_cover_its_whole_life(client: Client, trained: str) -> None:
    kinds = [event.kind for event in client.events(trained)]
    assert kinds[0] == "queued"
    assert "running" in kinds
    assert "succeeded" in kinds


def test_an_invented_cursor_is_refused(client: Client) -> None:
    with pytest.raises(InvalidSpec):
        client.page(cursor="made-up")


def test_an_unknown_job_raises_our_own_error(client: Client) -> None:
    with pytest.raises(NotFound):
        client.get("nope")


def test_the_doctor_finds_nothing_wrong(
    cli: Run, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = cli("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(out)}
    assert code == 0, found
    assert found["API"]["verdict"] == found["token"]["verdict"] == "ok"
    assert found["worker"]["verdict"] == "ok"


def test_the_doctor_names_a_token_that_is_wrong(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--url", connection.url, "--token", "wrong" * 8, "doctor", "--json"]) == 1
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["token"]["verdict"] == "bad"
    assert found["token"]["mend"]


def test_a_job_is_deleted_found_in_the_trash_and_restored_by_the_end_of_its_id(
    cli: Run, client: Client
) -> None:
    job = client.submit({"normalizer": "batch", "dataset": {"name": "digits"}, "epochs": 1000}).id
    client.cancel(job)
    client.wait(job, timeout_s=240)
    code, out, _ = cli("rm", job[-8:])
    assert (code, "in the trash; purged after 30 days" in out) == (0, True)
    assert job in cli("ls", "--trash", "--ids")[1]
    assert job not in cli("ls", "--ids")[1]
    assert "would purge 1 job and 0 studies" in cli("gc", "--dry-run")[1]
    assert cli("restore", job[-8:])[0] == 0
    assert job in cli("ls", "--ids")[1]
    code, _, err = cli("rm")
    assert (code, err.count("\n")) == (2, 1)
    assert "name jobs, or studies with --study" in err


def test_jobs_are_looked_at_side_by_side_and_at_their_best(
    cli: Run, client: Client, trained: str
) -> None:
    spec = {"normalizer": "group", "dataset": {"name": "digits", "train_size": 128}, "epochs": 2}
    other = client.submit({**spec, "threads": 1, "seed": 5}).id
    client.cancel(other)
    out = cli("diff", trained, other)[1]
    assert "normalizer.kind" in out
    assert "seed" in out
    assert "batch_size" not in out
    assert cli("diff", trained, trained)[1] == "the specifications are equal\n"
    code, _, err = cli("diff", trained)
    assert (code, err) == (2, "normlab: 1 job: name at least two to compare\n")
    assert trained in [job["id"] for job in json.loads(cli("best", "--json")[1])]
    code, _, err = cli("best", "--metric", "val/acuracy")
    assert (code, "the nearest are val/accuracy" in err) == (2, True)
    tail = cli("tail", trained)[1]
    assert "succeeded" in tail
    assert "train/loss" in tail
    assert cli("open", trained[-8:], "--print")[1].endswith(f"/jobs/{trained}\n")


def test_the_version_is_printed(cli: Run) -> None:
    from normlab import __version__

    assert cli("--version") == (0, f"normlab {__version__}\n", "")
