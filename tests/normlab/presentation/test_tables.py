"""All forms of a table have the same content."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.presentation.tables import (
    cells,
    comma_separated,
    latex,
    markdown,
    means,
    parquet,
    pivot,
    render,
    tidy,
)
from normlab.records import ResultRow, ResultTable


def row(normalizer: str, batch: int, mean: float | None = 0.9, **fields: Any) -> ResultRow:
    values = {} if mean is None else {0: mean - 0.01, 1: mean + 0.01}
    half = None if mean is None else 0.0123
    return ResultRow.model_validate({
        "coordinates": {"normalizer": normalizer, "batch_size": batch},
        "labels": {"normalizer": normalizer, "batch_size": str(batch)},
        "n": len(values), "failed": 0, "mean": mean, "sd": None,
        "low": None if mean is None else mean - half, "high": None if mean is None else mean + half,
        "values": values, "jobs": {0: "j0", 1: "j1"}, "states": {0: "succeeded", 1: "succeeded"},
        **fields,
    })  # fmt: skip


def table(*rows: ResultRow) -> ResultTable:
    return ResultTable(
        study="s", metric="val/accuracy", reduction="last", interval="t", confidence=0.95,
        group_by=["normalizer", "batch_size"], rows=list(rows),
    )  # fmt: skip


GRID = table(row("batch", 32), row("batch", 2, 0.7), row("group+proxy", 32), row("group+proxy", 2))


def test_two_paths_make_a_grid() -> None:
    head, lines = pivot(GRID)
    assert head == ["normalizer \\ batch_size", "32", "2"]
    assert lines[0] == ["batch", "0.900 ± 0.012", "0.700 ± 0.012"]


def test_one_setting_for_each_kind_is_a_list_and_no_grid_of_gaps() -> None:
    head, lines = pivot(table(row("batch", 32), row("group+proxy", 2)))
    assert head == ["normalizer", "batch_size", "val/accuracy", "n"]
    assert lines[1] == ["group+proxy", "2", "0.900 ± 0.012", "2"]
    head, _ = pivot(table(row("batch", 32), row("group+proxy", 32)))
    assert head == ["normalizer \\ batch_size", "32"], "one value for all is a grid without gaps"


def test_cells_without_a_value_are_named_by_their_state() -> None:
    texts = cells(table(
        row("batch", 2, without={"failed": 1}),
        row("batch", 8, None, without={"pruned": 1, "queued": 2}),
    ))  # fmt: skip
    assert texts == ["0.900 ± 0.012 (1 failed)", "— (1 pruned, 2 queued)"]


def test_one_seed_has_no_interval() -> None:
    assert cells(table(row("batch", 2, 0.91236, low=None, high=None))) == ["0.9124"]


def test_a_wide_interval_leaves_no_digit_that_it_says_nothing_of_in_any_form() -> None:
    wide = table(
        row("batch", 2, 0.812, low=-0.488, high=2.112),
        row("group", 2, 0.8124, low=-0.4876, high=2.1124),
    )
    assert cells(wide) == ["0.8 ± 1.3", "0.8 ± 1.3"]
    for text, plus_minus in ((markdown(wide), "±"), (latex(wide), r"$\pm$")):
        assert text.count(f"0.8 {plus_minus} 1.3") == 2


def test_a_caption_names_the_chosen_cells() -> None:
    chosen = GRID.model_copy(update={"where": {"epochs": "4"}})
    assert "val/accuracy (last), epochs = 4, mean over seeds" in markdown(chosen)


def test_markdown_and_latex_hold_every_cell() -> None:
    for text, plus_minus in ((markdown(GRID), "±"), (latex(GRID), r"$\pm$")):
        assert text.count(f"0.900 {plus_minus} 0.012") == 3
        assert "95 " in text
    assert r"val/accuracy" in latex(GRID)
    assert r"batch\_size" in latex(GRID)


@pytest.mark.parametrize(
    ("spread", "cell", "said"),
    [
        ("interval", r"0.900 $\pm$ 0.012", r"mean over seeds with the 95 \% t interval."),
        ("sd", r"0.900 $\pm$ 0.014", r"mean over seeds $\pm$ standard deviation."),
        ("range", "0.900 (0.890 to 0.910)", "mean over seeds (smallest to largest seed)."),
        ("none", "& 0.900 &", "mean over seeds."),
    ],
)
def test_latex_has_around_a_mean_what_its_figure_has(spread: str, cell: str, said: str) -> None:
    spread_out = table(row("batch", 32, sd=0.01414), row("batch", 2, 0.7, sd=0.01414))
    text = latex(spread_out, spread)
    assert cell in text
    assert f"val/accuracy (last), {said}" in text


def test_one_seed_has_nothing_around_it_whatever_is_asked_for() -> None:
    one = table(row("batch", 2, 0.91236, n=1, low=None, high=None, values={0: 0.91236}))
    assert [cells(one, spread) for spread in ("sd", "range", "none")] == [["0.9124"]] * 3


def test_means_have_the_smallest_and_the_largest_seed() -> None:
    found = means(table(row("batch", 2), row("batch", 8, None)))
    assert [(line["smallest"], line["largest"]) for line in found] == [
        (pytest.approx(0.89), pytest.approx(0.91)), (None, None),
    ]  # fmt: skip


def test_csv_has_one_line_per_job() -> None:
    lines = list(csv.DictReader(io.StringIO(comma_separated(tidy(GRID)))))
    assert len(lines) == 8
    assert float(lines[2]["val/accuracy"]) == pytest.approx(0.69)
    assert comma_separated([]) == "\n"


def test_parquet_holds_the_same_records_in_the_types_of_the_study() -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    found = pq.read_table(io.BytesIO(parquet(tidy(GRID))))
    assert found.to_pylist() == tidy(GRID)
    assert [str(found.schema.field(name).type) for name in ("normalizer", "batch_size")] == [
        "string", "int64",
    ]  # fmt: skip
    assert tidy(GRID)[0]["batch_size"] == 32


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(InvalidSpec, match="markdown, latex, csv"):
        render(GRID, "docx")


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    rows = [{"=path": "=1+1", "val": -0.5, "text": "-0.5", "none": None}]
    assert comma_separated(rows) == "'=path,val,text,none\n'=1+1,-0.5,-0.5,\n"


def test_bytes_have_a_unit_with_every_spread() -> None:
    fields = {"low": 3.0e8, "high": 3.2e8, "sd": 7e6, "values": {0: 3.0e8, 1: 3.2e8}}
    one = table(row("batch", 2, 3.1e8, **fields)).model_copy(
        update={"metric": "device/memory_peak_bytes"}
    )
    assert [cells(one, spread) for spread in ("interval", "sd", "range", "none")] == [
        ["295.6 MiB ± 9.5 MiB"],
        ["295.6 MiB ± 6.7 MiB"],
        ["295.6 MiB (286.1 MiB to 305.2 MiB)"],
        ["295.6 MiB"],
    ]
    assert render(one, "means").splitlines()[1].split(",")[3] == "310000000.0", "files have bytes"
