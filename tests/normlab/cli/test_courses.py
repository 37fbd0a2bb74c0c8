"""The curve of a metric as a line of bars, and no bars if there is no curve."""

from __future__ import annotations

from math import nan

import pytest
from rich.console import Console

from normlab.cli import looking
from normlab.cli.looking import _of_courses
from normlab.cli.output import console
from normlab.cli.results import sparkline
from normlab.records import JobRecord, SeriesRecord

JOB = JobRecord.model_construct(id="5f0c9a41", state="succeeded", step=3, steps=3)


def curve(*values: float) -> SeriesRecord:
    return SeriesRecord.model_construct(values=list(values))


def test_a_course_rises_and_falls_as_its_values_do_and_one_value_has_none() -> None:
    assert sparkline([0.0, nan, 1.0, 0.5]) == "▁ █▅"
    assert [sparkline([2.0]), sparkline([nan, 2.0]), sparkline([])] == ["", "", ""]


def test_the_last_values_of_curves_of_one_point_come_without_a_column_of_courses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console().print(_of_courses(JOB, {"val/loss": curve(0.5)}, 2))
    assert "curve" not in capsys.readouterr().out
    console().print(_of_courses(JOB, {"val/loss": curve(0.5), "train/loss": curve(2, 1)}, 2))
    assert "█▁" in capsys.readouterr().out


def test_a_course_is_whole_and_fits_beside_its_values_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(looking, "console", lambda: Console(width=80))
    values = [float(i) for i in range(59)]
    Console(width=80).print(_of_courses(JOB, {"train/nonfinite_statistics": curve(*values)}, 3))
    said = capsys.readouterr().out
    assert "…" not in said
    assert "train/nonfinite_statistics" in said
    assert said.count("█  ") == 1  # to the last value
