"""Differences from a reference and figures of a study over HTTP."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.store.database import Database
from tests.api.conftest import ask
from tests.service.finishing import made
from tests.service.studies.test_differences import GRID, finish


@pytest.fixture
def study(database: Database) -> str:
    found = made(database, GRID)
    finish(database)
    return found


def test_a_figure_is_what_the_command_line_draws_with_its_numbers(
    client: httpx.Client, study: str
) -> None:
    asked = {
        "group_by": ["normalizer", "batch_size"], "axis": "normalizer", "against": "batch",
        "format": "zip", "spread": "range",
    }  # fmt: skip
    response = ask(client, "GET", f"/v1/studies/{study}/figure", params=asked)
    assert response.headers["content-type"] == "application/zip"
    assert 'filename="figure.zip"' in response.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        means = list(csv.DictReader(io.StringIO(archive.read("means.csv").decode())))
        assert b"differs from batch" in archive.read("figure.svg")
    table = ask(client, "GET", f"/v1/studies/{study}/results", params={}).json()
    assert [float(line["val/accuracy"]) for line in means] == [r["mean"] for r in table["rows"]]
    found = ask(client, "GET", f"/v1/studies/{study}/differences", params=asked).json()
    by_place = {(r["labels"]["normalizer"], r["labels"]["batch_size"]): r for r in found["rows"]}
    for line in means:
        row = by_place.get((line["normalizer"], line["batch_size"]))
        assert line["p adjusted"] == ("" if row is None else str(row["p_adjusted"]))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"group_by": ["normalizer"]}, "would pool batch_size"),
        ({"group_by": ["normalizer", "batch_size"], "axis": "normalizer", "against": "x"}, "batch"),
        ({"group_by": ["normalizer", "batch_size"], "spread": "sem"}, "range"),
        ({"group_by": ["normalizer", "batch_size"], "where": "normalizer=x"}, "no value"),
        ({"group_by": ["normalizer", "batch_size"], "metric": "val/acuracy"}, "val/accuracy"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_with_the_reason(
    client: httpx.Client, study: str, asked: dict[str, Any], said: str
) -> None:
    response = ask(client, "GET", f"/v1/studies/{study}/figure", params=asked)
    assert response.status_code == 422
    assert said in response.text


def test_a_server_without_matplotlib_says_how_to_get_the_figure(
    client: httpx.Client, study: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('No module named matplotlib')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = {"group_by": ["normalizer", "batch_size"]}
    response = ask(client, "GET", f"/v1/studies/{study}/figure", params=asked)
    assert response.status_code == 503
    assert "install normlab[study] there, or draw here with" in response.json()["detail"]


def test_means_are_exported_as_the_rows_that_are_shown(client: httpx.Client, study: str) -> None:
    asked = {"format": "means", "group_by": "normalizer", "where": "batch_size=2"}
    response = ask(client, "GET", f"/v1/studies/{study}/results", params=asked)
    assert 'filename="means.csv"' in response.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(response.text)))
    assert [(line["normalizer"], line["n"]) for line in lines] == [
        ("batch", "4"), ("layer", "4"), ("group", "4"),
    ]  # fmt: skip
    assert all(line["low"] < line["val/accuracy"] < line["high"] for line in lines)
