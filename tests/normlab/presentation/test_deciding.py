"""Verdicts follow from intervals, for what is claimed; families are corrected."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import pytest

pytest.importorskip("scipy", reason="decisions are made by the service")

from normlab.presentation.deciding import look, sizes
from normlab.presentation.judging import CONTRADICTS, SHOWS, UNDECIDED, Claimed, Rule, Sample
from normlab.specs.decisions import MISSED, Decide


def sample(mean: float, n: int = 8, sd: float = 0.01, failed: int = 0) -> Sample:
    pattern = np.linspace(-1, 1, n)
    return Sample(tuple(mean + sd * pattern / pattern.std(ddof=1)), failed)


RULE = Rule(by=0.01, power=0.9, at_most=16)
RULE8 = Rule(by=0.0, power=0.9, at_most=8)


def verdict(of: Sample, many: int = 1) -> str:
    return look({"x": of}, [3, 5, 8], RULE, many, [])["x"].verdict


def test_verdicts_follow_the_side_of_the_interval() -> None:
    assert verdict(sample(0.05)) == SHOWS
    assert verdict(sample(-0.05)) == CONTRADICTS
    assert verdict(sample(0.005)) == UNDECIDED


def test_identical_results_are_not_certain_after_three_seeds() -> None:
    for value in (0.0, 0.02, 0.8):
        found = look({"x": Sample((value,) * 3)}, [3], RULE, 1, [])["x"]
        assert (found.verdict, found.ties) == (UNDECIDED, 3 if value == 0 else 0)


def test_rounding_does_not_hide_a_tie() -> None:
    d = (0.83 - 0.80, 0.53 - 0.50, 0.13 - 0.10)  # none of them is 0.03 to the last bit
    assert look({"x": Sample(d)}, [3], RULE, 1, [])["x"].verdict == UNDECIDED


def test_a_failed_seed_counts_against_either_verdict() -> None:
    whole, broken = verdict(sample(0.05)), verdict(sample(0.05, failed=1))
    assert (whole, broken) == (SHOWS, UNDECIDED)
    whole, broken = verdict(sample(-0.05)), verdict(sample(-0.05, failed=1))
    assert (whole, broken) == (CONTRADICTS, UNDECIDED)


def test_where_every_seed_failed_there_is_no_interval() -> None:
    found = look({"x": Sample((), failed=3)}, [3], RULE, 1, [])["x"]
    assert (found.verdict, found.low, found.failed) == (UNDECIDED, None, 3)


def test_each_one_that_shows_loosens_the_test_of_the_others() -> None:
    samples = {"weak": sample(0.046)}
    alone = look(samples, [3, 5, 8], RULE, 4, [])["weak"]
    beside = look({**samples, **{f"strong {i}": sample(0.5) for i in range(3)}},
                  [3, 5, 8], RULE, 4, [])  # fmt: skip
    assert alone.verdict == UNDECIDED
    assert beside["weak"].verdict == SHOWS
    assert look(samples, [3, 5, 8], RULE, 4, [SHOWS] * 3)["weak"].verdict == SHOWS


def test_undecided_says_what_could_have_shown_and_how_many_more_would_decide() -> None:
    found = look({"x": sample(0.005, sd=0.02)}, [3, 5, 8], RULE, 1, [])["x"]
    assert found.seen is not None
    assert verdict(sample(found.seen, sd=0.02)) == SHOWS
    assert found.more is not None
    rule = Rule(0.01, 0.9, 8 + found.more)
    later = look({"x": sample(0.005, 8 + found.more, 0.02)}, [8 + found.more], rule, 1, [])["x"]
    assert later.verdict != UNDECIDED


def test_looks_grow_by_half_and_end_at_the_limit() -> None:
    assert sizes(16, 64) == [16, 24, 36, 64]
    assert sizes(6, 64) == [6, 9, 14, 21, 32, 48, 64]
    assert sizes(20, 24) == [20, 24]
    assert sizes(6, 6) == [6]


@pytest.mark.parametrize(("rarest", "seeds"), [(0.5, 6), (0.3, 10), (0.2, 16), (0.05, 69)])
def test_the_first_look_waits_for_what_is_rare(rarest: float, seeds: int) -> None:
    assert Decide(by=0.01, at_most=100, rarest=rarest).first_look == seeds
    assert (1 - rarest) ** seeds <= MISSED < (1 - rarest) ** (seeds - 1)


def test_a_limit_before_the_first_look_is_refused_with_both_ways_out() -> None:
    with pytest.raises(ValueError, match=r"fewer than the 16 seeds .* raise at_most, or rarest"):
        Decide(by=0.01, at_most=15)


def test_a_finding_says_what_so_many_seeds_may_have_missed() -> None:
    found = look({"x": sample(0.05, 16)}, [16], RULE, 1, [])["x"]
    assert found.unseen is not None
    assert (1 - found.unseen) ** 16 == pytest.approx(MISSED)


@pytest.mark.parametrize(
    ("claimed", "verdicts"),
    [(Claimed(above=0.0), (CONTRADICTS, UNDECIDED, SHOWS)),
     (Claimed(below=0.0), (SHOWS, UNDECIDED, CONTRADICTS)),
     (Claimed(above=-0.02), (CONTRADICTS, SHOWS, SHOWS)),
     (Claimed(above=-0.02, below=0.02), (CONTRADICTS, SHOWS, CONTRADICTS)),
     (Claimed(above=-0.001, below=0.001), (CONTRADICTS, UNDECIDED, CONTRADICTS)),
     (Claimed(above=0.0, margin=0.02), (CONTRADICTS, CONTRADICTS, SHOWS))],
)  # fmt: skip
def test_the_side_of_what_is_claimed_decides(
    claimed: Claimed, verdicts: Tuple[str, str, str]
) -> None:
    for mean, word in zip((-0.05, 0.0, 0.05), verdicts):
        judged = Sample(sample(mean, 16).differences, 0, claimed)
        assert look({"x": judged}, [16], Rule(0.0, 0.9, 16), 1, [])["x"].verdict == word


@pytest.mark.parametrize("claimed", [Claimed(above=0.0), Claimed(below=0.0)])
def test_on_the_limit_itself_no_number_of_seeds_would_decide(claimed: Claimed) -> None:
    on_it = Sample((-0.01, 0.01) * 4, 0, claimed)
    assert look({"x": on_it}, [8], Rule(0.0, 0.9, 8), 1, [])["x"].more is None


def test_what_would_have_shown_counts_from_the_limit() -> None:
    for sign, claimed in ((1, Claimed(above=0.01)), (-1, Claimed(below=-0.01))):
        d = np.array(sample(0.012, sd=0.02).differences)
        found = look({"x": Sample(tuple(sign * d), 0, claimed)}, [8], RULE8, 1, [])["x"]
        assert (found.verdict, found.seen is not None) == (UNDECIDED, True)
        moved = sign * (d - d.mean() + 0.01 + (found.seen or 0.0))
        again = look({"x": Sample(tuple(moved), 0, claimed)}, [8], RULE8, 1, [])["x"]
        assert again.verdict == SHOWS
