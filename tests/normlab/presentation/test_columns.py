"""A coordinate in an export or a frame has the type of the study's file, and is no formula."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.presentation.columns import plain_cell, typed_columns

GROUP = {"kind": "group", "groups": 4}


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([32, 8], [32, 8]),
        ([32, None], [32, None]),
        ([1, 0.1], [1.0, 0.1]),
        ([True, False], [True, False]),
        (["batch", "layer"], ["batch", "layer"]),
        (["batch", GROUP], ["batch", "group(groups=4)"]),
        ([True, 2], ["true", "2"]),
        (["8", 8], ["8", "8"]),
        ([[1, 2], None], ["[1, 2]", None]),
        ([None, None], [None, None]),
    ],
)
def test_a_column_has_one_type_and_keeps_it_where_it_can(
    values: list[Any], column: list[Any]
) -> None:
    found = typed_columns([{"path": value} for value in values])["path"]
    assert found == column
    assert [type(value) for value in found] == [type(value) for value in column]


def test_a_path_that_a_row_does_not_have_is_missing() -> None:
    assert typed_columns([{"a": 1}, {"b": 2}]) == {"a": [1, None], "b": [None, 2]}


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "-"]
)
def test_text_that_begins_like_a_formula_gets_a_quote(text: str) -> None:
    assert plain_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-inf", -0.5, 3, None, "a=b", "1-2", "", "'x"])
def test_numbers_and_other_text_stay_as_they_are(value: Any) -> None:
    assert plain_cell(value) == value
