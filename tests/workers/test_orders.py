"""A claim is renewed during slow work for it."""

from __future__ import annotations

from threading import Event as Flag

import pytest

from workers.orders import meanwhile


def test_the_claim_is_kept_until_the_work_is_done() -> None:
    kept: list[None] = []
    enough = Flag()

    def keep() -> None:
        kept.append(None)
        if len(kept) == 3:
            enough.set()

    assert meanwhile(lambda stop: enough.wait(60), keep, every_s=0.01)
    assert len(kept) >= 3


def test_a_claim_that_is_over_ends_the_work() -> None:
    ended: list[bool] = []

    def lose() -> None:
        raise LookupError("another worker has the job")

    with pytest.raises(LookupError, match="another worker"):
        meanwhile(lambda stop: ended.append(stop.wait(60)), lose, every_s=0.01)
    assert ended == [True]


def test_an_error_of_the_work_is_raised() -> None:
    def fail(stop: Flag) -> None:
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        meanwhile(fail, lambda: None, every_s=60)
