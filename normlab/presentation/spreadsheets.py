"""Cells of CSV files that a spreadsheet shows as they are, and never computes."""

from __future__ import annotations

from typing import Any

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain_cell(value: Any) -> Any:
    """
    Return *value* as a spreadsheet may have it: text that begins like a formula gets a quote.

    Numbers stay numbers, as text too: -0.5 and +1e-3 are no formulas.
    """
    if not isinstance(value, str) or not value.startswith(_BEGINS_A_FORMULA):
        return value
    return value if _is_number(value) else f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
