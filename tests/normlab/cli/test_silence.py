"""The log of a job that printed nothing is never just empty."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from normlab.cli.watching import _of_silence
from normlab.records import JobDetail
from normlab.records.jobs import AttemptRecord

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


def job(state: str, **facts: Any) -> JobDetail:
    told = {"id": "5f0c9a41", "step": 40, "last": {}, "error": None, "attempts": []}
    return JobDetail.model_construct(state=state, **{**told, **facts})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (job("queued", waiting_for="a worker for cuda"), "waits for a worker for cuda"),
        (job("running"), "normlab tail 5f0c9a41"),
        (job("succeeded"), "succeeded after 40 updates"),
    ],
    ids=["queued", "running", "succeeded"],
)
def test_an_empty_log_says_why_it_is_empty(found: JobDetail, said: str) -> None:
    assert said in "\n".join(_of_silence(found))


def test_an_ended_job_tells_of_its_attempts() -> None:
    attempt: AttemptRecord = AttemptRecord.model_construct(
        number=2, worker="w", hosts=[], started_at=NOON, ended_at=NOON, outcome="lost",
        message="killed",
    )  # fmt: skip
    told = _of_silence(job("failed", attempts=[attempt]))
    assert "2026-11-28 12:00:00 UTC  attempt 2 on w: lost: killed" in told
