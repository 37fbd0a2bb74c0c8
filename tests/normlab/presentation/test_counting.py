"""Numbers of things."""

from __future__ import annotations

from normlab.presentation.counting import counted


def test_one_thing_is_singular_and_others_are_plural() -> None:
    assert [counted(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert [counted(n, "study", "studies") for n in (1, 3)] == ["1 study", "3 studies"]
