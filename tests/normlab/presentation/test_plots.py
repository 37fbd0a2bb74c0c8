"""A plot shows the numbers of its table, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.presentation.plots import draw, save
from normlab.records import ResultRow, ResultTable

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # imports of matplotlib itself


def row(mean: float | None, **coordinates: Any) -> ResultRow:
    return ResultRow.model_validate({
        "coordinates": coordinates, "labels": {k: str(v) for k, v in coordinates.items()},
        "n": 2, "failed": 0, "mean": mean, "sd": 0.01,
        "low": None if mean is None else mean - 0.02, "high": None if mean is None else mean + 0.02,
        "values": {} if mean is None else {0: mean - 0.01, 1: mean + 0.01}, "jobs": {},
        "states": {},
    })  # fmt: skip


def table(*rows: ResultRow) -> ResultTable:
    return ResultTable(
        study="s", metric="val/accuracy", reduction="last", interval="t", confidence=0.95,
        group_by=list(rows[0].coordinates), rows=list(rows),
    )  # fmt: skip


KINDS = (("batch", 0.8), ("group", 0.9))
LINES = table(
    *(
        row(level - 0.1 / batch, normalizer=kind, batch_size=batch)
        for kind, level in KINDS
        for batch in (2, 8, 32)
    )
)


@pytest.mark.parametrize(
    ("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_each_format_is_written(tmp_path: Path, name: str, magic: bytes) -> None:
    assert save(LINES, tmp_path / name).read_bytes().startswith(magic)


def test_a_numeric_path_gives_one_line_per_value_with_bands() -> None:
    axes = draw(LINES).axes[0]
    assert [line.get_label() for line in axes.lines] == ["batch", "group"]
    assert list(axes.lines[0].get_xdata()) == [2, 8, 32]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.75, 0.7875, 0.796875])
    assert len(axes.collections) == 2
    assert axes.get_xscale() == "log"


def test_two_names_give_a_heat_map_with_its_numbers() -> None:
    grid = table(row(0.9, normalizer="a", model="x"), row(None, normalizer="b", model="x"))
    texts = [text.get_text() for text in draw(grid).axes[0].texts]
    assert texts == ["0.900", "—"]


def test_a_heat_map_has_the_digits_that_its_intervals_allow() -> None:
    grid = table(row(0.8121, normalizer="a", model="x"), row(0.8124, normalizer="b", model="x"))
    assert [text.get_text() for text in draw(grid).axes[0].texts] == ["0.812", "0.812"]


def test_a_figure_says_which_values_are_in_no_mean() -> None:
    broken = row(None, normalizer="b", model="x").model_copy(
        update={"excluded": {0: "NaN", 1: "Infinity"}, "n": 0}
    )
    some = row(0.8, normalizer="a", model="x").model_copy(update={"excluded": {2: "NaN"}})
    figure = draw(table(some, broken))
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["0.800\n1 NaN", "NaN, Infinity"]
    points = draw(
        table(
            *(one.model_copy(update={"coordinates": {"normalizer": one.labels["normalizer"]}})
              for one in (some, broken))
        )
    )  # fmt: skip
    for drawn in (figure, points):
        said = [text.get_text() for text in drawn.texts]
        assert any("in no mean: 2 NaN, 1 Infinity" in text for text in said), said


def test_a_plot_names_the_chosen_cells() -> None:
    chosen = LINES.model_copy(update={"where": {"epochs": "4", "model.width": "8"}})
    assert draw(chosen).axes[0].get_title() == "epochs = 4, model.width = 8"


def test_one_path_shows_each_seed() -> None:
    axes = draw(table(row(0.9, normalizer="a"), row(0.8, normalizer="b"))).axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.89, 0.91])


@pytest.mark.parametrize(
    ("rows", "name", "rule"),
    [
        ([row(0.9, a=1)], "a.bmp", "one of .png"),
        ([row(None, a=1)], "a.png", "nothing to plot"),
        ([row(0.9, a=1, b=2, c=3, d=4)], "a.png", "--group-by"),
    ],
)
def test_a_table_that_cannot_be_plotted_gives_the_reason(
    tmp_path: Path, rows: list[ResultRow], name: str, rule: str
) -> None:
    with pytest.raises(InvalidSpec, match=rule):
        save(table(*rows), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_an_axis_of_bytes_has_round_numbers_of_a_unit() -> None:
    mib = 2**20
    rows = [row(300 * mib, normalizer="a"), row(420 * mib, normalizer="b")]
    memory = table(*rows).model_copy(update={"metric": "device/memory_peak_bytes"})
    figure = draw(memory)
    figure.draw_without_rendering()
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"300 MiB", "400 MiB"} <= set(texts)
    grid = table(*(row(m * mib, normalizer=n, model="x") for n, m in (("a", 300), ("b", 420))))
    heat = draw(grid.model_copy(update={"metric": "device/memory_peak_bytes"}))
    heat.draw_without_rendering()
    assert [text.get_text() for text in heat.axes[0].texts] == ["300.000 MiB", "420.000 MiB"]
    assert "400 MiB" in [label.get_text() for label in heat.axes[1].get_yticklabels()]
