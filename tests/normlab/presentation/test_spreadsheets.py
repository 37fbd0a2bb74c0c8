"""No cell of a CSV file is a formula."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.presentation.columns import plain_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "-"]
)
def test_text_that_begins_like_a_formula_gets_a_quote(text: str) -> None:
    assert plain_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-inf", -0.5, 3, None, "a=b", "1-2", "", "'x"])
def test_numbers_and_other_text_stay_as_they_are(value: Any) -> None:
    assert plain_cell(value) == value
