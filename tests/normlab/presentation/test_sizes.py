"""Sizes are written and read in units that people use."""

from __future__ import annotations

import pytest

from normlab.presentation.sizes import read_size, size


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 29, "1.5 GiB"), (2**41, "2.0 TiB")],
)
def test_a_size_is_told_in_the_largest_unit_that_fits(count: int, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("text", "count"),
    [("500", 500), ("1.5 KiB", 1536), ("200GB", 200 * 10**9), ("2tib", 2**41), ("7 B", 7)],
)
def test_a_size_is_read_with_and_without_a_unit(text: str, count: int) -> None:
    assert read_size(text) == count


@pytest.mark.parametrize("text", ["", "lots", "-1", "5 GXB", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        read_size(text)
