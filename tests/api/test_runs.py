"""Many jobs as one object of a notebook, on a real API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import pytest

import normlab
from normlab.client import Client
from normlab.client.runs import Runs
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.events import Finished, Metrics
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN
from tests.service.work import claim, series, submit


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, OPERATORS_TOKEN) as client:
        yield client


@pytest.fixture
def runs(client: Client, database: Database) -> Runs:
    """Two jobs with small rates, of which the older has succeeded, and one with a large one."""
    submit(database, name="<b>small</b>", optimizer={"lr": 0.01}, batch_size=2)
    done = claim(database)
    told = {"val/accuracy": series(1, 2, 3, value=0.75), "train/loss": series(3)}
    assert reports.keep_all(database, done, [Metrics(series=told)])
    leases.finish(database, done, Finished(step=3, summary={}))
    submit(database, optimizer={"lr": 0.1}, normalizer={"kind": "group", "groups": 2})
    submit(database, optimizer={"lr": 0.5})
    return normlab.runs("lr < 0.2", client=client)


def test_a_filter_finds_runs_by_the_end_of_a_fields_name(runs: Runs) -> None:
    assert [job.state for job in runs] == ["queued", "succeeded"]
    assert len(runs) == 2
    assert [job.batch_size for job in runs[:1]] == [32]
    assert "lr < 0.2" in repr(runs)


def test_a_frame_has_typed_columns_and_a_gap_where_a_run_has_no_value(runs: Runs) -> None:
    frame = runs.frame(["val/accuracy"])
    assert frame["batch_size"].tolist() == [32, 2]
    assert frame["normalizer"].tolist() == ["group", "batch"]
    types = {name: str(frame[name].dtype) for name in frame}
    assert types["batch_size"] == types["seed"] == "int64"
    assert types["optimizer.lr"] == types["val/accuracy"] == "float64"
    assert types["state"] == "string"
    assert types["created_at"].endswith("UTC]")
    assert frame["val/accuracy"].isna().tolist() == [True, False]
    assert frame["val/accuracy"][1] == 0.75


def test_a_frame_keeps_infinity_and_tells_nan_from_no_value(runs: Runs, database: Database) -> None:
    for value in (nan, -inf):
        held = claim(database)
        reports.keep_all(database, held, [Metrics(series={"val/loss": series(1, value=value)})])
    submit(database, optimizer={"lr": 0.15})
    found = normlab.runs(client=runs._client)
    frame = found.frame("val/loss", columns=["id"])
    by_lr = {job.id: job.last.get("val/loss") for job in found}
    assert str(frame["val/loss"].dtype) == "float64"
    assert frame["val/loss"].isna().sum() == 3  # a job with NaN, and two without a value
    assert (frame["val/loss"] == -inf).sum() == 1
    names = frame.attrs["not_finite"]["val/loss"]
    assert sorted(names.values()) == ["-Infinity", "NaN"]
    assert set(names) == {job for job, last in by_lr.items() if last is not None}
    assert {str(last.value) for last in by_lr.values() if last is not None} == {"nan", "-inf"}
    courses = found.curves("val/loss")
    assert sorted(map(str, courses["value"])) == ["-inf", "nan"]


def test_a_frame_of_nothing_has_its_columns(client: Client) -> None:
    frame = normlab.runs("batch_size = 7", client=client).frame(["val/loss"], columns=["seed"])
    assert list(frame) == ["seed", "val/loss"]
    assert len(frame) == 0


def test_unknown_columns_and_filters_are_refused(runs: Runs, client: Client) -> None:
    with pytest.raises(InvalidSpec, match="nonsense"):
        runs.frame(columns=["nonsense"])
    with pytest.raises(InvalidSpec, match="no such field"):
        len(normlab.runs("nonsense = 1", client=client))


def test_courses_are_one_long_frame(runs: Runs) -> None:
    curves = runs.curves("val/accuracy", "train/loss")
    assert curves["step"].tolist() == [1, 2, 3, 3]
    assert curves["metric"].tolist() == ["val/accuracy"] * 3 + ["train/loss"]
    assert set(curves["job"]) == {runs[1].id}
    assert list(runs.curves()) == ["job", "metric", "step", "value", "time"]


def test_only_what_differs_is_compared(runs: Runs) -> None:
    compared = runs.compare()
    assert compared["optimizer.lr"].tolist() == [0.1, 0.01]
    assert compared["batch_size"].tolist() == [32, 2]
    assert "epochs" not in compared
    assert compared["normalizer.groups"].dtype == "Int64"  # batch norm has none
    assert compared["normalizer.groups"].isna().tolist() == [False, True]
    assert "name" not in compared
    assert f'style="white-space: nowrap">{runs[0].id}</th>' in compared._repr_html_()


def test_a_picture_has_a_line_for_each_run(runs: Runs) -> None:
    mpl.use("agg")
    axes = runs.plot("val/accuracy", by="normalizer")
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [0.75] * 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch"]
    mpl.pyplot.close("all")


def test_markup_in_a_name_is_text_in_a_notebook(runs: Runs) -> None:
    shown = [runs._repr_html_(), runs[1]._repr_html_()]
    for html in shown:
        assert "&lt;b&gt;small&lt;/b&gt;" in html
        assert "<b>" not in html
        assert "val/accuracy 0.75" in html
    assert "2 runs" in shown[0]


def test_waiting_shows_the_progress_in_place_in_a_notebook(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def see(value: Any, **_: Any) -> Any:
        shown.append(repr(value))
        return SimpleNamespace(update=see)

    notebook = SimpleNamespace(get_ipython=lambda: object(), display=SimpleNamespace(display=see))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    submit(database)

    def finish(_: float) -> None:
        leases.finish(database, claim(database), Finished(step=3, summary={}))

    monkeypatch.setattr(client.transport, "sleep", finish)
    assert normlab.runs(client=client).wait()[0].state == "succeeded"
    assert shown == ["<1 runs: all>", "1 runs have ended: 1 succeeded"]  # the cell has the table


def test_waiting_has_an_end(client: Client, database: Database) -> None:
    submit(database)
    with pytest.raises(ServiceUnavailable, match="1 runs have not ended"):
        normlab.runs(client=client).wait(timeout_s=0)
