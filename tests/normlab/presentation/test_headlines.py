"""A job shows its accuracy, or the metric that its task has instead."""

from __future__ import annotations

from math import inf, nan
from typing import Optional

import pytest

from normlab.cli.progress import describe
from normlab.presentation.headlines import headline, in_accuracys_place
from normlab.presentation.intervals import smaller_is_better
from normlab.records import JobRecord
from normlab.records.findings import LastValue
from normlab.specs.measures import METRICS


def a_job(**values: Optional[float]) -> JobRecord:
    last = {
        name.replace("_", "/", 1): LastValue(step=1, value=value, min=value, max=value)
        for name, value in values.items()
    }
    return JobRecord.model_construct(state="running", last=last)


def test_an_accuracy_comes_first() -> None:
    job = a_job(val_loss=0.5, val_accuracy=0.9, val_jaccard=0.7)
    assert headline(job) == ("val/accuracy", 0.9)
    assert in_accuracys_place(job) is None


def test_a_detector_shows_its_precision_and_a_stylizer_its_loss() -> None:
    detector = a_job(val_loss=1.5, val_map=0.42, val_map50=0.7, train_loss=1.2)
    assert headline(detector) == ("val/map", 0.42)
    assert in_accuracys_place(detector) == "map 0.42"
    assert describe(detector) == "train/loss 1.200  val/map 0.420"
    stylizer = a_job(val_loss=0.59, val_content_loss=0.5, val_style_loss=0.09)
    assert headline(stylizer) == ("val/loss", 0.59)


def test_a_job_without_an_evaluation_shows_none() -> None:
    assert headline(a_job(train_loss=1.0)) is None
    assert in_accuracys_place(a_job()) is None


def test_what_is_not_finite_is_shown_by_its_name() -> None:
    assert in_accuracys_place(a_job(val_loss=nan)) == "loss NaN"
    assert in_accuracys_place(a_job(val_accuracy=nan, val_loss=1.0)) is None
    assert describe(a_job(val_accuracy=nan, train_loss=inf)) == (
        "train/loss Infinity  val/accuracy NaN"
    )


@pytest.mark.parametrize("name", list(METRICS))
def test_losses_and_perplexity_are_better_when_smaller_and_no_other_measure(name: str) -> None:
    assert smaller_is_better(name) == name.endswith(("_loss", "perplexity"))
