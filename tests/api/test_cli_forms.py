"""The command line prints lists and records as tables, JSON, YAML and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import func, update

from normlab.cli import completion
from normlab.cli.application import run
from normlab.events import Finished, Metrics, Series
from normlab.stacks.addresses import Address
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from service.store.schema import job as job_table, job_index
from tests.api.conftest import OPERATORS_TOKEN, log_in
from tests.service.finishing import made
from tests.service.work import claim, series, submit

Say = Callable[..., str]


@pytest.fixture
def say(url: str, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command that succeeds, and return what it prints."""

    def command(*arguments: str) -> str:
        assert run(["--url", url, "--token", OPERATORS_TOKEN, *arguments]) == 0
        return capsys.readouterr().out

    return command


@pytest.fixture
def job(database: Database) -> str:
    submitted = submit(database, name="=1+1", batch_size=8)
    held = claim(database)
    reports.keep_all(database, held, [Metrics(series={"val/accuracy": series(1, 2, 3)})])
    leases.finish(database, held, Finished(step=3, summary={}))
    return submitted.id


def test_lists_and_records_have_the_form_that_is_asked_for(say: Say, job: str) -> None:
    as_json = json.loads(say("ls", "-o", "json"))
    assert as_json[0]["id"] == job
    assert as_json == json.loads(say("ls", "--json")) == yaml.safe_load(say("ls", "-o", "yaml"))
    (row,) = csv.DictReader(io.StringIO(say("ls", "-o", "csv")))
    assert (row["id"], row["batch_size"], row["last.val/accuracy.value"]) == (job, "8", "0.5")
    assert row["name"] == "'=1+1"  # not a formula of a spreadsheet
    assert yaml.safe_load(say("show", job, "-o", "yaml"))["spec"]["batch_size"] == 8
    kinds = list(csv.DictReader(io.StringIO(say("normalizers", "-o", "csv"))))
    assert "batch" in [kind["kind"] for kind in kinds]


def test_a_table_is_what_people_see_and_one_form_does_not_stay_for_the_next(
    say: Say, job: str
) -> None:
    assert yaml.safe_load(say("ls", "-o", "yaml"))
    assert say("ls", "-o", "table").startswith("job ")
    assert say("ls").startswith("job ")
    assert json.loads(say("ls", "--json"))


def test_an_unknown_form_is_bad_input(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--url", url, "ls", "-o", "xml"]) == 2
    assert "'xml' is not one of" in capsys.readouterr().err


def test_tail_follows_a_job_to_its_end(say: Say, job: str) -> None:
    shown = say("tail", job, "--follow")
    assert "succeeded" in shown
    assert "val/accuracy" in shown


@pytest.fixture
def context(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the context of a press of the Tab key by somebody who waits for an answer."""
    monkeypatch.setattr(completion, "PATIENCE_S", 60.0)
    root = type("Root", (), {"params": vars(Address(url, OPERATORS_TOKEN))})
    return type("Context", (), {"find_root": lambda self: root})()


def test_fields_and_metrics_are_completed(context: Any, job: str) -> None:
    assert completion.metric_names(context, "val/") == ["val/accuracy"]
    assert completion.fields(context, "optimizer.layer_d") == ["optimizer.layer_decay="]


def test_jobs_are_completed_by_the_end_that_tables_show_and_by_the_whole_id(
    context: Any, say: Say, job: str
) -> None:
    seen = job[-8:]
    assert seen in say("ls")
    said = "succeeded batch"
    assert completion.job_ids(context, "") == [(seen, said)]
    assert completion.job_ids(context, seen[:5]) == [(seen, said)]
    assert completion.job_ids(context, job[:14]) == [(job, said)]
    assert completion.job_ids(context, "nothing") == []


def test_values_of_fields_that_are_one_of_a_few_are_completed(context: Any) -> None:
    assert completion.fields(context, "device=c") == ["device=cpu", "device=cuda"]
    assert completion.fields(context, "optimizer.name=adamw") == ["optimizer.name=adamw"]
    assert completion.fields(context, "normalizer=grou") == ["normalizer=group"]
    assert completion.fields(context, "dataset.name=dig") == ["dataset.name=digits"]
    assert completion.fields(context, "deterministic=t") == ["deterministic=true"]
    assert completion.fields(context, "batch_size=") == []
    assert completion.fields(context, "model=unet") == ["model=unet"]
    assert completion.fields(context, "dataset=dig") == ["dataset=digits"]
    assert completion.study_fields(context, "base.dataset=dig") == ["base.dataset=digits"]
    assert completion.study_fields(context, "seed") == ["seeds="]


def test_what_results_take_is_completed(context: Any, database: Database) -> None:
    cells = {"base": {"normalizer": "batch"}, "axes": {"batch_size": [2]}}
    context.params = {"study": made(database, {"name": "kinds", **cells, "seeds": 2})}
    assert completion.groupings(context, "") == ["batch_size", "seed"]
    assert completion.one_of("last", "best", "area")("b") == ["best"]


def test_filters_orders_and_states_are_completed(context: Any, job: str) -> None:
    assert completion.conditions(context, "seed = 0 and val/a") == ["seed = 0 and val/accuracy"]
    assert completion.conditions(context, "optimizer.layer_d") == ["optimizer.layer_decay"]
    assert completion.columns(context, "-val/") == ["-val/accuracy"]
    assert completion.columns(context, "batch") == ["batch_size"]
    assert completion.states("r") == ["running"]


def test_an_order_that_begins_with_a_minus_is_completed_by_a_shell(
    url: str, job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(completion, "PATIENCE_S", 60.0)
    monkeypatch.setenv("_NORMLAB_COMPLETE", "complete_bash")
    before = f"normlab --url {url} --token {OPERATORS_TOKEN} ls"
    for words, offered in (
        ("--sort -val/", ["-val/accuracy"]),
        ("--trash --so", ["--sort"]),
        ("--trash --filter val/a", ["val/accuracy"]),
    ):
        monkeypatch.setenv("COMP_WORDS", f"{before} {words}")
        monkeypatch.setenv("COMP_CWORD", str(f"{before} {words}".count(" ")))
        with pytest.raises(SystemExit):
            run([])
        assert capsys.readouterr().out.split() == offered


def test_projects_parts_and_pages_are_completed(context: Any, job: str) -> None:
    assert completion.project_names(context, "def") == ["default"]
    assert completion.part_names(context, "adam") == [("adamw", "optimizer")]
    assert completion.pages(context, job[-8:]) == [(job[-8:], "succeeded batch")]


def test_studies_are_completed_by_names_that_a_shell_takes_as_one_word(
    context: Any, database: Database
) -> None:
    cells = {"base": {"normalizer": "batch"}, "axes": {"batch_size": [2]}}
    made(database, {"name": "kinds", **cells, "seeds": 2})
    spaced = made(database, {"name": "small batches", **cells})[-8:]
    assert completion.study_names(context, "ki") == [("kinds", "kinds, active")]
    told = completion.study_names(context, "")
    assert [text for text, _ in told] == [spaced, "kinds"]
    assert told[0][1] == "small batches, active"


@pytest.mark.parametrize(
    ("line", "head"),
    [
        (["ls", "-f", "seed = 99"], "id,name,"),
        (["best", "-f", "seed = 99"], "id,name,"),
        (["study", "ls"], "id,name,"),
        (["token", "list", "--owner", "nobody"], "id,owner,"),
    ],
)
def test_csv_of_nothing_has_its_head(say: Say, job: str, line: list[str], head: str) -> None:
    shown = say(*line, "-o", "csv")
    assert shown.startswith(head)
    assert len(shown.splitlines()) == 1


def test_a_list_of_nothing_says_why(
    say: Say, job: str, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    for wanted, why in (
        ("seed = 99", "no job matches"),
        ("val/acuracy > 0.5", "the nearest are val/accuracy"),
    ):
        assert run(["--url", url, "--token", OPERATORS_TOKEN, "ls", "-f", wanted]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert why in said.err


@pytest.fixture
def refused(url: str, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command with bad input, which prints no answer, and return its message."""

    def command(*arguments: str) -> str:
        assert run(["--url", url, "--token", OPERATORS_TOKEN, *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return command


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["ls", "--device", "tpu"], "there is no device 'tpu'; use one of cpu,"),
        (["ls", "--normalizer", "grup", "--json"], "no normalizer 'grup'; the nearest are group"),
        (["ls", "--project", "nope"], "there is no project 'nope'; use one of default"),
        (["best", "--project", "nope"], "there is no project 'nope'"),
        (["study", "ls", "--project", "nope"], "there is no project 'nope'"),
    ],
)
def test_a_list_of_what_nobody_knows_is_refused_with_what_is_known(
    refused: Say, job: str, line: list[str], said: str
) -> None:
    assert said in refused(*line)


def test_a_kind_that_is_known_no_more_is_one_as_long_as_a_job_has_it(
    say: Say, refused: Say, job: str, database: Database
) -> None:
    assert say("ls", "--normalizer", "online") == ""  # known, without a job
    with database.begin() as connection:
        connection.execute(update(job_table).values(normalizer="of_old"))
        known = func.array_append(job_index.c.words, func.job_word("job.normalizer", "of_old"))
        connection.execute(update(job_index).values(words=known))
    assert job[-8:] in say("ls", "--normalizer", "of_old")
    assert say("ls", "--normalizer", "of_old", "--state", "failed") == ""
    say("rm", job)
    assert say("ls", "--normalizer", "of_old") == ""
    assert "there is no normalizer 'of_new'" in refused("ls", "--normalizer", "of_new")


def test_an_empty_trash_and_archive_say_so_and_others_that_nothing_fits(
    url: str, say: Say, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*line: str) -> str:
        assert run(["--url", url, "--token", OPERATORS_TOKEN, "ls", *line]) == 0
        return capsys.readouterr().err

    assert told("--trash") == "no job is in the trash\n"
    assert told("--archived") == "no job is archived\n"
    say("archive", job)
    assert told("--archived", "-f", "seed = 99") == "no archived job matches\n"
    say("rm", job)
    assert told("--trash", "-f", "seed = 99") == "no job in the trash matches\n"


def test_best_says_whether_no_job_fits_or_none_of_those_has_a_value(
    url: str, job: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(database, batch_size=2)

    def told(where: str, *line: str) -> str:
        assert run(["--url", url, "--token", OPERATORS_TOKEN, "best", "-f", where, *line]) == 0
        return capsys.readouterr().err

    assert told("seed = 99").startswith("no job matches")
    assert told("val/acuracy > 0").startswith("no job has reported a metric 'val/acuracy'")
    assert told("batch_size = 2", "--json") == (
        "no job among those that match has succeeded with a value of val/accuracy\n"
    )


@pytest.fixture
def diverged(database: Database) -> str:
    """A job whose loss became infinite in its second update, and NaN in its third."""
    submitted, held = submit(database), claim(database)
    loss = Series(steps=[1, 2, 3], values=[0.5, math.inf, math.nan], times=[1.0, 2.0, 3.0])
    reports.keep_all(database, held, [Metrics(series={"train/loss": loss})])
    leases.finish(database, held, Finished(step=3, summary={}))
    return submitted.id


def test_a_loss_that_diverged_is_named_and_not_missing(
    say: Say, diverged: str, client: httpx.Client
) -> None:
    (row,) = (line for line in say("show", diverged).splitlines() if "train/loss" in line)
    assert row.split() == ["train/loss", "3", "NaN", "0.5", "Infinity"]
    (row,) = (line for line in say("tail", diverged, "-n", "4").splitlines() if "train/" in line)
    assert row.split()[-4:] == ["-", "0.5", "Infinity", "NaN"]
    for line in (["tail", diverged, "-o", "csv"], ["export", diverged]):
        points = list(csv.DictReader(io.StringIO(say(*line))))
        assert [point["value"] for point in points] == ["0.5", "Infinity", "NaN"]
    log_in(client)
    assert '<td data-label="Train loss" class="number">NaN</td>' in client.get("/jobs").text


def test_forms_for_programs_tell_nan_from_infinity_and_from_nothing(
    say: Say, diverged: str, database: Database
) -> None:
    nothing = submit(database).id
    none, found = csv.DictReader(io.StringIO(say("ls", "-o", "csv")))
    assert (none["id"], none["last.train/loss.value"]) == (nothing, "")
    column = "last.train/loss"
    assert [found[f"{column}.{of}"] for of in ("value", "min", "max")] == ["NaN", "0.5", "Infinity"]
    for line, row in ((["ls"], 1), (["best", "-m", "train/loss"], 0)):
        last = json.loads(say(*line, "--json"))[row]["last"]["train/loss"]
        assert (last["value"], last["max"]) == (None, None)
        assert last["not_finite"] == {"/value": "NaN", "/max": "Infinity"}
    (written,) = (one for one in yaml.safe_load(say("ls", "-o", "yaml")) if one["id"] == diverged)
    assert str(written["last"]["train/loss"]["value"]) == "nan"
    assert written["last"]["train/loss"]["max"] == math.inf
    assert "NaN" in say("best", "-m", "train/loss")


def test_open_refuses_what_is_neither_a_job_nor_a_study(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--url", url, "--token", OPERATORS_TOKEN, "open", "nothing", "--print"]) == 2
    assert "there is no job and no study 'nothing'" in capsys.readouterr().err


def test_the_best_by_an_unknown_metric_names_the_nearest(
    url: str, say: Say, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--url", url, "--token", OPERATORS_TOKEN, "best", "-m"]
    assert run([*command, "val/acuracy"]) == 2
    said = "no job has reported a metric 'val/acuracy'; the nearest are val/accuracy"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["show", "0" * 8 + "-0000-7000-8000-" + "0" * 12],
                                   ["study", "show", "nothing"]])  # fmt: skip
def test_what_is_unknown_is_told_without_words_of_http(
    url: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--url", url, "--token", OPERATORS_TOKEN, *asked]) == 2
    said = capsys.readouterr().err
    assert "there is no" in said
    assert not any(word in said for word in ("GET", "POST", "/v1", "404", "HTTP"))
