"""After each claim a line says the verdicts so far and the time that is left."""

from __future__ import annotations

from normlab.cli.claims_progress import ClaimsProgress


def test_the_time_left_is_that_of_the_cells_left() -> None:
    now = [100.0]
    progress = ClaimsProgress(3, 40, lambda: now[0])
    now[0] += 600.0
    assert progress.line(1, ["shows"], 10) == "1 of 3 claims: 1 shows; about 30 min left"
    now[0] += 6000.0
    said = progress.line(2, ["shows", "undecided"], 20)
    assert said == "2 of 3 claims: 1 shows, 1 undecided; about 1 h 50 min left"
    assert progress.line(3, ["shows"] * 3, 40) == "3 of 3 claims: 3 shows"
