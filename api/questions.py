"""The question about a study's cells that its tables, comparisons and figures answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, Query

from api.state import State
from normlab.specs.studies import headline_of
from service.studies import details
from service.studies.cell_values import Question

WhereQuery = Annotated[
    list[str] | None,
    Query(
        description="only cells with this value: PATH=VALUE, such as batch_size=32, where VALUE "
        "is written as in the labels of the rows; may be repeated"
    ),
]


def _asked(
    metric: Annotated[
        str | None,
        Query(
            max_length=200,
            description="the metric; default: val/accuracy, or the one that the study's task "
            "has in its place",
        ),
    ] = None,
    reduction: Annotated[str, Query(max_length=50)] = "last",
    interval: Literal["t", "bootstrap"] = "t",
    confidence: Annotated[float, Query(gt=0, lt=1)] = 0.95,
) -> Callable[[State, str], Question]:
    return partial(_question, metric, reduction, interval, confidence)


def _question(
    metric: str | None,
    reduction: str,
    interval: Literal["t", "bootstrap"],
    confidence: float,
    state: State,
    study: str,
) -> Question:
    shown = metric or headline_of(details.get(state.reads, study, 0).spec.base)
    return Question(shown, reduction, interval, confidence)


QuestionDep = Annotated[Callable[[State, str], Question], Depends(_asked)]
"""Returns the question about a study. It may read the study, so call it in the reader's turn."""
