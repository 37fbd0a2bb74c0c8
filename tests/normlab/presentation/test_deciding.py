"""Decisions while seeds are added have the stated error rates; checked by simulation."""

from __future__ import annotations

from typing import Callable, Dict, Tuple

import numpy as np
import pytest

pytest.importorskip("scipy", reason="decisions are made by the service")

from normlab.presentation.deciding import (
    CONTRADICTS,
    ONE_SIDED,
    SHOWS,
    UNDECIDED,
    Rule,
    Sample,
    bounds,
    largest_sd,
    look,
    sizes,
)
from normlab.presentation.spending import levels

SIMULATIONS = 10_000
Draw = Callable[[np.random.Generator, Tuple[int, int]], np.ndarray]


def ever(differences: np.ndarray, rule: Rule, among: int = 1) -> Tuple[np.ndarray, np.ndarray]:
    """Return the simulations in which a look shows, and those in which one contradicts."""
    shows = np.zeros(len(differences), dtype=bool)
    contradicts = shows.copy()
    looks = sizes(3, rule.at_most)
    of = levels(tuple(n / rule.at_most for n in looks), ONE_SIDED / among)
    for n, level in zip(looks, of):
        low, high = bounds(differences[:, :n], 0, rule.by, level, level)
        shows |= low > 0
        contradicts |= high < rule.by
    return shows, contradicts


def draw(kind: Draw, n: int) -> np.ndarray:
    return kind(np.random.default_rng(1), (SIMULATIONS, n))


@pytest.mark.parametrize("at_most", [3, 5, 8, 16, 64])
def test_without_an_effect_few_looks_ever_show(at_most: int) -> None:
    rule = Rule(by=1.0, power=0.9, at_most=at_most)
    shows, _ = ever(draw(lambda r, s: r.normal(0, 1, s), at_most), rule)
    assert 0.02 < shows.mean() < 0.031  # 2.5 %, and the t test is exact for a single look


@pytest.mark.parametrize("at_most", [3, 8, 64])
def test_at_the_margin_few_looks_ever_contradict(at_most: int) -> None:
    rule = Rule(by=1.0, power=0.9, at_most=at_most)
    _, contradicts = ever(draw(lambda r, s: r.normal(1, 1, s), at_most), rule)
    assert 0.02 < contradicts.mean() < 0.031


@pytest.mark.parametrize("power", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("at_most", [3, 8, 64])
def test_an_effect_of_the_margin_shows_with_the_power_promised(at_most: int, power: float) -> None:
    rule = Rule(by=0.01, power=power, at_most=at_most)
    sd = largest_sd(sizes(3, at_most), rule, 1)
    looks = draw(lambda r, s: r.normal(rule.by, sd, s), at_most)
    shows, contradicts = first(looks, rule)
    assert shows.mean() >= power - 0.005
    assert contradicts.mean() < 0.03


def first(differences: np.ndarray, rule: Rule) -> Tuple[np.ndarray, np.ndarray]:
    """As `ever`, but the first verdict counts."""
    shows = np.zeros(len(differences), dtype=bool)
    contradicts = shows.copy()
    for n in sizes(3, rule.at_most):
        partly = differences[:, :n]
        level = levels(tuple(m / rule.at_most for m in sizes(3, rule.at_most) if m <= n), ONE_SIDED)
        low, high = bounds(partly, 0, rule.by, level[-1], level[-1])
        undecided = ~(shows | contradicts)
        contradicts |= undecided & (high < rule.by) & ~(low > 0)
        shows |= undecided & (low > 0)
    return shows, contradicts


KINDS: Dict[str, Draw] = {
    "heavy tails": lambda r, s: r.laplace(0, 1, s),
    "very heavy tails": lambda r, s: r.standard_t(3, s),
    "two skewed losses": lambda r, s: r.lognormal(0, 1, s) - r.lognormal(0, 1, s),
    "skewed, long tail above": lambda r, s: r.exponential(1, s) - 1,
    "half of them ties": lambda r, s: r.choice([-0.01, 0, 0.01], s, p=[0.25, 0.5, 0.25]),
    "nearly all ties": lambda r, s: r.choice([-0.01, 0, 0.01], s, p=[0.05, 0.9, 0.05]),
    "two values": lambda r, s: r.choice([-0.01, 0.01], s),
    "rounded": lambda r, s: np.round(r.normal(0, 0.02, s), 2),
}  # fmt: skip


@pytest.mark.parametrize("at_most", [5, 16, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_5_percent_show_falsely_whatever_the_kind(kind: str, at_most: int) -> None:
    shows, _ = ever(draw(KINDS[kind], at_most), Rule(by=1.0, power=0.9, at_most=at_most))
    assert shows.mean() <= 0.05


@pytest.mark.parametrize("many", [2, 6])
def test_few_families_of_comparisons_without_effect_show_anything(many: int) -> None:
    rule = Rule(by=1.0, power=0.9, at_most=16)
    results = np.random.default_rng(2).normal(0, 1, (4000, 16, 1 + many))
    found = (results[..., 1:] - results[..., :1]).swapaxes(1, 2)  # with the same first seed
    shows, _ = ever(found.reshape(-1, 16), rule, among=many)
    assert shows.reshape(-1, many).any(axis=1).mean() < 0.035


def sample(mean: float, n: int = 8, sd: float = 0.01, failed: int = 0) -> Sample:
    pattern = np.linspace(-1, 1, n)
    return Sample(tuple(mean + sd * pattern / pattern.std(ddof=1)), failed)


RULE = Rule(by=0.01, power=0.9, at_most=64)


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
    samples = {"weak": sample(0.025)}
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
    assert sizes(1, 64) == [3, 5, 8, 12, 18, 27, 41, 64]
    assert sizes(20, 24) == [20, 24]
    assert sizes(3, 3) == [3]
