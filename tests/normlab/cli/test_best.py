"""`normlab best` knows of which metrics the lowest value is the best."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Iterator, Optional

import pytest

from normlab.cli import looking


@pytest.mark.parametrize(
    ("metric", "lowest", "sort"),
    [
        ("val/accuracy", None, "-val/accuracy"),
        ("val/map", None, "-val/map"),
        ("val/style_loss", None, "val/style_loss"),
        ("val/perplexity", None, "val/perplexity"),
        ("val/loss", False, "-val/loss"),
        ("val/map", True, "val/map"),
    ],
)
def test_the_best_jobs_are_those_with_the_best_value(
    metric: str, lowest: Optional[bool], sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def listed(limit: int, sort: str, **filters: Any) -> list[Any]:
        asked.append(sort)
        return []

    @contextmanager
    def connect(ctx: Any) -> Iterator[Any]:
        yield SimpleNamespace(list=listed)

    monkeypatch.setattr(looking, "connect", connect)
    context: Any = None
    looking.best(context, metric, lowest, None, None, 10, False)
    assert asked == [sort]
