"""The messages about a job's rerun."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from normlab.cli.rerun import say
from normlab.client.reruns import RerunComparison
from normlab.records import JobDetail
from normlab.records.jobs import ErrorRecord


def job(state: str, **more: Any) -> JobDetail:
    fields: Dict[str, Any] = {"id": "now", "state": state, "error": None, **more}
    return JobDetail.model_construct(**fields)


def test_a_metric_that_only_one_of_both_has_is_named_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = [("val/loss", None, 0.5), ("val/error", "NaN", None)]
    say(RerunComparison(False, metrics), "before", job("succeeded"))
    said = capsys.readouterr().out
    assert "  val/loss: not reported then, 0.5 now\n" in said
    assert "  val/error: NaN then, not reported now\n" in said


def test_a_rerun_that_fails_says_why_and_compares_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields: Dict[str, Any] = {"failure_kind": "user", "message": "the loss is not finite"}
    failed = job("failed", error=ErrorRecord.model_construct(**fields))
    say(RerunComparison(False, [("val/loss", 0.5, None)]), "before", failed)
    said = capsys.readouterr().out
    assert said.startswith("now, the rerun of before, did not succeed")
    assert said.endswith("it is failed: the loss is not finite\n")
    assert "val/loss" not in said
