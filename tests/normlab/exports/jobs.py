"""A succeeded job, made by hand."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from normlab.exports.run import Run
from normlab.records import JobDetail, SeriesRecord

ACCURACY = SeriesRecord(
    name="val/accuracy", steps=[4, 8], values=[0.5, 0.75], min=None, max=None,
    times=[1000.5, 1002.25], points=2,
)  # fmt: skip
LOSS = SeriesRecord(
    name="train/loss", steps=[1, 2, 3], values=[2.0, None, 1.0], min=None, max=None,
    times=[1000.0, 1000.1, 1000.2], points=3,
)  # fmt: skip


def a_run(**fields: Any) -> Run:
    """Return a run with two series; *fields* replace fields of its job."""
    at = datetime(2026, 1, 2, tzinfo=timezone.utc)
    spec = {"normalizer": {"kind": "group", "groups": 4}, "batch_size": 2, "seed": 7}
    job = {
        "id": "job-1", "name": None, "owner": "ada", "state": "succeeded", "normalizer": "group",
        "proxy": False, "model": "preresnet8", "dataset": "digits", "batch_size": 2,
        "samples_per_update": 2, "seed": 7, "device": "cpu", "device_reason": "", "runtime": "cpu",
        "timing_valid": True, "priority": 0, "attempt": 1, "max_attempts": 3, "step": 8, "steps": 8,
        "epoch": 2, "epochs": 2, "created_at": at, "started_at": at, "finished_at": at,
        "worker": "w", "waiting_for": None, "cancel_requested": False, "error": None,
        "study": None, "fingerprint": "f", "spec": spec, "attempts": [],
        "last": {"val/accuracy": {"step": 8, "value": 0.75, "min": 0.5, "max": 0.75},
                 "train/loss": {"step": 3, "value": None, "min": 1.0, "max": 2.0}},
        **fields,
    }  # fmt: skip
    series = {one.name: one for one in (ACCURACY, LOSS)}
    return Run(JobDetail.model_validate(job), series, "batch_size=2 seed=7")
