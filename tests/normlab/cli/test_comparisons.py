"""What a comparison of two values says."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from normlab.cli.comparisons import print_comparison
from normlab.records import ComparisonRow, ComparisonTable


class Studies:
    """Compares two values, whose difference has this interval."""

    def __init__(self, metric: str, low: Optional[float], high: Optional[float], n: int) -> None:
        row = ComparisonRow(
            coordinates={}, labels={}, n=n, a_mean=2.0, b_mean=1.0, difference=1.0, sd=None,
            low=low, high=high,
        )  # fmt: skip
        self.found = ComparisonTable(
            study="s", metric=metric, axis="normalizer", a="online", b="batch", rows=[row]
        )

    def compare(self, *parts: str, **question: Any) -> ComparisonTable:
        return self.found


@pytest.mark.parametrize(
    ("metric", "low", "high", "n", "better"),
    [
        ("val/accuracy", 0.5, 1.5, 4, "online"),
        ("val/loss", 0.5, 1.5, 4, "batch"),
        ("val/accuracy", -1.5, -0.5, 4, "batch"),
        ("val/loss", -1.5, -0.5, 4, "online"),
        ("val/accuracy", -0.1, 2.1, 4, "not clear"),
        ("val/accuracy", 0.0, 2.0, 4, "not clear"),
        ("val/accuracy", None, None, 1, "not clear: one seed"),
    ],
)
def test_the_better_value_is_named_where_the_interval_leaves_out_zero(
    capsys: pytest.CaptureFixture[str],
    metric: str,
    low: Optional[float],
    high: Optional[float],
    n: int,
    better: str,
) -> None:
    class Client:
        studies = Studies(metric, low, high, n)

    print_comparison(Client(), "s", ["normalizer", "online", "batch"], {}, False)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "better"
    assert row.rstrip().endswith(f" {better}")


def test_no_value_is_better_where_a_seed_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    class Client:
        studies = Studies("val/accuracy", 0.5, 1.5, 4)

    row = Client.studies.found.rows[0]
    row.excluded[3] = "NaN"
    print_comparison(Client(), "s", ["normalizer", "online", "batch"], {}, False)
    out = capsys.readouterr().out
    assert "4 (1 NaN)" in out
    assert out.rstrip().endswith("not clear")


def test_all_columns_of_a_comparison_of_bytes_have_one_unit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Client:
        studies = Studies("device/memory_peak_bytes", 0.4e6, 0.6e6, 4)

    (row,) = Client.studies.found.rows
    row.a_mean, row.b_mean, row.difference = 3.105e8, 3.1e8, 5e5
    print_comparison(Client(), "s", ["normalizer", "online", "batch"], {}, False)
    shown = capsys.readouterr().out.splitlines()[1]
    assert "296.116 MiB  295.639 MiB  0.477 MiB" in shown
    assert "0.381 MiB  0.572 MiB" in shown
