"""When the drill considers two curves of equal jobs to be the same."""

from __future__ import annotations

from tests.drill.verdict import Curve, differing

ALONE = Curve("alone", packed=False, values=(1.0, 0.5))


def test_jobs_alone_are_equal_to_the_bit() -> None:
    other = Curve("other", packed=False, values=(1.0, 0.5000001))
    assert differing([ALONE, other]) == {"other"}
    assert differing([ALONE, other._replace(values=ALONE.values)]) == set()


def test_a_member_of_a_pack_follows_the_jobs_alone_to_rounding() -> None:
    near = Curve("near", packed=True, values=(1.0, 0.5001))
    far = Curve("far", packed=True, values=(1.0, 0.51))
    short = Curve("short", packed=True, values=(1.0,))
    lost = Curve("lost", packed=True, values=(1.0, None))
    assert differing([near, far, short, lost, ALONE]) == {"far", "short", "lost"}
