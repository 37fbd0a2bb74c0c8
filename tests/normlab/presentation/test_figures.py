"""A figure for a paper: several panels, marks, and the numbers beside it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import zipfile
from typing import Any, Dict, List

import pytest

from normlab.errors import InvalidSpec
from normlab.presentation.figures import FigureQuestion, figure
from normlab.presentation.intervals import estimate
from normlab.presentation.plots import draw, save
from normlab.records import DifferenceTable, ResultRow, ResultTable

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # imports of matplotlib itself

AXES: Dict[str, List[Any]] = {
    "normalizer": ["batch", "layer"], "batch_size": [2, 32], "optimizer.lr": [0.1, 0.3],
}  # fmt: skip


def row(values: List[float], **coordinates: Any) -> ResultRow:
    found = estimate(values)
    return ResultRow(
        coordinates=coordinates, labels={k: str(v) for k, v in coordinates.items()}, n=found.n,
        failed=0, mean=found.mean, sd=found.sd, low=found.low, high=found.high,
        values=dict(enumerate(values)), jobs={}, states=dict.fromkeys(range(found.n), "succeeded"),
    )  # fmt: skip


def table(*paths: str) -> ResultTable:
    """A row for each combination: the mean tells all of them apart."""
    rows = [
        row([0.5 + i / 50, 0.52 + i / 50, 0.51 + i / 50], **dict(zip(paths, values)))
        for i, values in enumerate(itertools.product(*(AXES[path] for path in paths)))
    ]
    return ResultTable(
        study="s", metric="val/accuracy", reduction="last", interval="t", confidence=0.95,
        group_by=list(paths), rows=rows,
    )  # fmt: skip


def against(p: float) -> DifferenceTable:
    labels = {"normalizer": "layer", "batch_size": "2", "optimizer.lr": "0.1", "epochs": "4"}
    found = {"labels": labels, "n": 3, "mean": 0.1, "low": 0.05, "high": 0.15, "p": p / 2}
    return DifferenceTable.model_validate({
        "study": "s", "metric": "val/accuracy", "axis": "normalizer", "against": "batch",
        "rows": [{**found, "p_adjusted": p}],
    })  # fmt: skip


def test_a_third_path_makes_a_panel_for_each_value_on_one_axis_with_the_same_colours() -> None:
    three = table("normalizer", "batch_size", "optimizer.lr")
    panels = draw(three).axes
    assert [axes.get_title() for axes in panels] == ["optimizer.lr = 0.1", "optimizer.lr = 0.3"]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    for axes, rate in zip(panels, AXES["optimizer.lr"]):
        assert [line.get_label() for line in axes.lines] == ["batch", "layer"]
        for line in axes.lines:
            mine = [
                r.mean
                for r in three.rows
                if (r.labels["normalizer"], r.coordinates["optimizer.lr"])
                == (line.get_label(), rate)
            ]
            assert list(line.get_ydata()) == pytest.approx(mine)
    colors = [[line.get_color() for line in axes.lines] for axes in panels]
    assert colors[0] == colors[1]


def test_stars_mark_what_differs_from_the_reference_and_the_figure_says_so() -> None:
    two = table("normalizer", "batch_size")
    marked = draw(two, "interval", against(0.01))
    assert [text.get_text() for text in marked.axes[0].texts] == ["*"]
    assert "differs from batch (paired t, Holm, p < 0.05)" in str(marked.get_supxlabel())
    unmarked = draw(two, "interval", against(0.2))
    assert [text.get_text() for text in unmarked.axes[0].texts] == []


def test_what_is_around_a_mean_is_what_was_asked_for() -> None:
    two = table("normalizer", "batch_size")
    assert len(draw(two, "none").axes[0].collections) == 0
    band = draw(two, "range").axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (min(band), max(band)) == pytest.approx((0.5, 0.54))


def test_a_zip_has_pictures_numbers_and_a_table_that_agree() -> None:
    two = table("normalizer", "batch_size")
    content = figure(FigureQuestion(table=two, spread="sd", against=against(0.01), form="zip"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert files["figure.svg"].startswith(b"<?xml")
    assert files["figure.pdf"].startswith(b"%PDF")
    means = list(csv.DictReader(io.StringIO(files["means.csv"].decode())))
    assert [float(line["val/accuracy"]) for line in means] == [r.mean for r in two.rows]
    assert [line["p adjusted"] for line in means] == ["", "", "0.01", ""]
    seeds = list(csv.DictReader(io.StringIO(files["seeds.csv"].decode())))
    assert len(seeds) == 3 * len(two.rows)
    assert r"\toprule" in files["table.tex"].decode()
    asked = json.loads(files["figure.json"])
    again = FigureQuestion.model_validate({**asked, "form": "svg"})
    assert again.table == two


def test_the_same_question_has_the_same_picture() -> None:
    question = FigureQuestion(table=table("normalizer"), form="pdf")
    assert figure(question) == figure(question)


def test_too_many_panels_are_refused_with_the_way_out(tmp_path: Any) -> None:
    rows = [row([0.5], normalizer="batch", batch_size=2, seed=i) for i in range(13)]
    many = table("normalizer").model_copy(
        update={"rows": rows, "group_by": ["normalizer", "batch_size", "seed"]}
    )
    with pytest.raises(InvalidSpec, match="at most 12 panels; make it the first path"):
        save(many, tmp_path / "a.png")
