"""Numbers of things."""

from __future__ import annotations

import math

import pytest

from normlab.counting import counted, measured, read_size, size


def test_one_thing_is_singular_and_others_are_plural() -> None:
    assert [counted(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert [counted(n, "study", "studies") for n in (1, 3)] == ["1 study", "3 studies"]


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 29, "1.5 GiB"), (2**41, "2.0 TiB")],
)
def test_a_size_is_told_in_the_largest_unit_that_fits(count: int, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("metric", "value", "told"),
    [
        ("device/memory_peak_bytes", 3.1e8, "295.6 MiB"),
        ("device/memory_peak_bytes", math.nan, "NaN"),
        ("train/loss", 1.23456, "1.235"),
    ],
)
def test_a_value_of_a_metric_in_bytes_has_its_unit(metric: str, value: float, told: str) -> None:
    assert measured(metric, value) == told


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
