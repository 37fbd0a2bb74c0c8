"""After each stage of a claim, the time left is the sum over all remaining stages."""

from __future__ import annotations

from normlab.cli.claims_progress import ClaimsProgress


def test_the_time_left_counts_tuning_and_every_round_of_every_claim() -> None:
    now = [100.0]
    progress = ClaimsProgress({"a": [10.0, 20.0, 30.0], "b": [40.0]}, lambda: now[0])
    assert progress.left() == ""  # no pace yet
    now[0] += 600.0
    progress.stage_ended("a")  # a minute for each unit of work, and 90 units are left
    assert progress.left() == "; at most about 1 h 30 min left"
    now[0] += 1200.0
    progress.stage_ended("a")
    assert progress.left() == "; at most about 1 h 10 min left"


def test_rounds_that_a_verdict_made_needless_are_not_left() -> None:
    now = [0.0]
    progress = ClaimsProgress({"a": [10.0, 50.0], "b": [20.0]}, lambda: now[0])
    now[0] += 600.0
    progress.stage_ended("a")
    progress.claim_ended("a", "shows")
    assert progress.line() == "1 of 2 claims: 1 shows; at most about 20 min left"
    progress.stage_ended("b")
    progress.claim_ended("b", "undecided")
    assert progress.line() == "2 of 2 claims: 1 shows, 1 undecided"


def test_what_the_store_had_before_sets_no_pace() -> None:
    now = [0.0]
    progress = ClaimsProgress({"a": [100.0], "b": [10.0], "c": [10.0]}, lambda: now[0])
    progress.found("a", 1.0)
    progress.found("b", 0.5)
    progress.stage_ended("a")
    progress.claim_ended("a", "shows")
    assert progress.left() == ""
    now[0] += 300.0
    progress.stage_ended("b")
    progress.claim_ended("b", "shows")
    assert progress.line() == "2 of 3 claims: 2 shows; at most about 10 min left"
