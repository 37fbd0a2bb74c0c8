"""`normlab best` knows for which metrics the lowest value is the best."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Iterator, Optional

import pytest

from normlab.cli import looking
from normlab.records import JobRecord, LastValue


def trained(metric: str) -> JobRecord:
    """A job that has succeeded with a value of this metric."""
    facts = {"name": None, "state": "succeeded", "model": "convnet", "dataset": "digits"}
    job: JobRecord = JobRecord.model_construct(
        id="5f0c9a41", normalizer="group", proxy=True, batch_size=8, seed=0,
        last={metric: LastValue(step=1, value=0.5, min=0.5, max=0.5)}, **facts,
    )  # fmt: skip
    return job


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
        return [trained(metric)]

    @contextmanager
    def connect(ctx: Any) -> Iterator[Any]:
        yield SimpleNamespace(list=listed)

    monkeypatch.setattr(looking, "connect", connect)
    context: Any = None
    looking.best(context, metric, lowest, None, None, None, 10, False)
    assert asked == [sort]


def test_a_proxy_is_told_with_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    looking._print_best([trained("val/accuracy")], "val/accuracy")
    assert "group+proxy" in capsys.readouterr().out
