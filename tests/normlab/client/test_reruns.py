"""Reasons why a job's rerun may have different bits."""

from __future__ import annotations

from math import inf, nan
from typing import Any, Dict, List, Optional

from normlab.client.reruns import compare
from normlab.records import JobDetail
from normlab.records.findings import LastValue
from normlab.records.jobs import AttemptRecord


class NoFiles:
    """A client of a stack whose jobs have left no files."""

    def artifacts(self, job: str) -> List[Any]:
        return []


def job(loss: Optional[float], **environment: Any) -> JobDetail:
    attempt: Dict[str, Any] = {"environment": environment}
    last: Dict[str, Any] = {"step": 3, "value": loss}
    found: Dict[str, Any] = {
        "id": "a",
        "state": "succeeded",
        "attempts": [AttemptRecord.model_construct(**attempt)],
        "last": {"val/loss": LastValue.model_construct(**last)},
    }
    return JobDetail.model_construct(**found)


def told(before: JobDetail, now: JobDetail) -> List[str]:
    client: Any = NoFiles()
    return compare(before, now, client, client).differences


def test_a_pack_is_named_as_the_reason_for_other_last_bits() -> None:
    differences = told(job(0.5, packed=8, runtime="packed"), job(0.50001, runtime="cpu"))
    assert "in another pack, only up to rounding" in differences[0]
    assert "packed: 8 then, none now" in differences


def test_two_jobs_alone_are_told_nothing_of_packs() -> None:
    assert told(job(0.5, runtime="cpu"), job(0.6, runtime="cpu")) == []


def test_nan_is_the_same_as_nan_and_another_than_infinity() -> None:
    client: Any = NoFiles()
    assert compare(job(nan), job(nan), client, client).metrics == []
    assert compare(job(nan), job(inf), client, client).metrics == [("val/loss", "NaN", "Infinity")]


def test_a_metric_that_is_not_finite_differs_from_one_that_was_not_reported() -> None:
    client: Any = NoFiles()
    silent = job(0.5).model_copy(update={"last": {}})
    found = compare(job(nan), silent, client, client)
    assert (found.same, found.metrics) == (False, [("val/loss", "NaN", None)])
