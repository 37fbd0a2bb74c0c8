from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from normlab.errors import InvalidSpec
from service.results.chunks import MAX_POINTS, Columns, columns, merge, pack, thin_out, unpack

steps = st.lists(st.integers(0, 2**31 - 1), max_size=60, unique=True).map(sorted)
values = st.floats(width=64)  # NaN and infinities are values too


@st.composite
def points(draw: st.DrawFn) -> Columns:
    s = draw(steps)
    v = draw(st.lists(values, min_size=len(s), max_size=len(s)))
    return columns(s, v, [1.7e9 + 0.25 * i for i in range(len(s))])


def _round_trip(given: Columns) -> Columns:
    chunks = list(pack(given))
    return unpack([(c.n, c.t0, c.step0, c.steps, c.vals, c.times) for c in chunks])


@given(points())
def test_packed_points_are_unpacked_bit_for_bit(reported: Columns) -> None:
    found = _round_trip(reported)
    assert found.steps.tobytes() == reported.steps.tobytes()
    assert found.values.tobytes() == reported.values.tobytes()
    np.testing.assert_allclose(found.times, reported.times, atol=1e-3, rtol=0)


def test_a_long_series_becomes_several_chunks_end_to_end() -> None:
    n = 2 * MAX_POINTS + 1
    reported = columns(range(n), np.sin(np.arange(n)), np.arange(n) / 100)
    chunks = list(pack(reported))
    assert [c.n for c in chunks] == [MAX_POINTS, MAX_POINTS, 1]
    assert [c.step0 for c in chunks] == [0, MAX_POINTS, 2 * MAX_POINTS]
    np.testing.assert_array_equal(_round_trip(reported).values, reported.values)


def test_the_ends_of_a_chunk_are_known_without_unpacking() -> None:
    (chunk,) = pack(columns([1, 2, 3, 4], [3.0, float("nan"), -1.0, 2.0], [5, 6, 7, 8]))
    assert (chunk.step0, chunk.step1, chunk.n, chunk.t0) == (1, 4, 4, 5.0)


def test_points_take_sixteen_bytes_each() -> None:
    (chunk,) = pack(columns(range(1000), np.ones(1000), np.ones(1000)))
    assert len(chunk.steps) + len(chunk.vals) + len(chunk.times) == 16_000


def test_reported_points_are_sorted_and_the_last_value_of_a_step_counts() -> None:
    found = columns([5, 1, 5], [1.0, 2.0, 3.0], [0, 0, 0])
    assert (found.steps.tolist(), found.values.tolist()) == ([1, 5], [2.0, 3.0])


@pytest.mark.parametrize("wrong", [[-1], [2**31]])
def test_a_step_that_does_not_fit_is_refused(wrong: list[int]) -> None:
    with pytest.raises(InvalidSpec, match="must lie in"):
        columns(wrong, [1.0], [0.0])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="2 steps, 1 values"):
        columns([1, 2], [1.0], [0.0, 0.0])


def _attempt(first: int, last: int, value: float) -> Columns:
    s = range(first, last + 1)
    return columns(s, [value] * len(s), [0.0] * len(s))


def test_the_next_attempt_counts_from_the_step_it_resumed_from() -> None:
    found = merge({1: _attempt(1, 8, 1.0), 2: _attempt(6, 9, 2.0)}, {1: 0, 2: 5})
    assert found.steps.tolist() == list(range(1, 10))
    assert found.values.tolist() == [1.0] * 5 + [2.0] * 4


def test_steps_after_the_checkpoint_are_gone_even_before_they_are_done_again() -> None:
    found = merge({1: _attempt(1, 8, 1.0)}, {1: 0, 2: 5})
    assert found.steps.tolist() == [1, 2, 3, 4, 5]


def test_an_attempt_that_never_trained_removes_no_points() -> None:
    found = merge({1: _attempt(1, 8, 1.0), 3: _attempt(8, 9, 3.0)}, {1: 0, 3: 7})
    assert found.values.tolist() == [1.0] * 7 + [3.0] * 2


def test_at_the_step_of_the_checkpoint_the_later_attempt_counts() -> None:
    found = merge({1: _attempt(1, 5, 1.0), 2: _attempt(5, 6, 2.0)}, {1: 0, 2: 5})
    assert found.values.tolist() == [1.0] * 4 + [2.0] * 2


def _merged_by_hand(parts: dict[int, Columns], resumed: dict[int, int]) -> dict[int, float]:
    said: dict[int, float] = {}
    for attempt in sorted(resumed):
        said = {step: value for step, value in said.items() if step <= resumed[attempt]}
        part = parts[attempt]
        for step, value in zip(part.steps.tolist(), part.values.tolist(), strict=True):
            if step >= resumed[attempt]:
                said[step] = value
    return said


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=5))
def test_merging_equals_replaying_the_attempts_one_by_one(runs: list[tuple[int, int]]) -> None:
    resumed = {a: (0 if a == 1 else first) for a, (first, _) in enumerate(runs, 1)}
    parts = {a: _attempt(resumed[a], resumed[a] + n, float(a)) for a, (_, n) in enumerate(runs, 1)}
    found = merge(parts, resumed)
    by_hand = _merged_by_hand(parts, resumed)
    assert dict(zip(found.steps.tolist(), found.values.tolist(), strict=True)) == by_hand


@settings(max_examples=200)
@given(points(), st.integers(1, 40))
def test_thinning_out_equals_brute_force(reported: Columns, buckets: int) -> None:
    found = thin_out(reported, buckets)
    if not len(reported):
        assert len(found.steps) == 0
        return
    first, span = int(reported.steps[0]), int(reported.steps[-1]) - int(reported.steps[0]) + 1
    by_bucket: dict[int, list[tuple[int, float]]] = {}
    edges = [first + i * span / buckets for i in range(buckets)]
    for step, value in zip(reported.steps.tolist(), reported.values.tolist(), strict=True):
        at = max(i for i, edge in enumerate(edges) if edge <= step)
        by_bucket.setdefault(at, []).append((step, value))
    assert len(found.steps) <= buckets
    for i, at in enumerate(sorted(by_bucket)):
        known = [value for _, value in by_bucket[at] if value == value]
        assert found.steps[i] == by_bucket[at][0][0]
        assert np.isnan(found.low[i]) if not known else found.low[i] == min(known)
        assert np.isnan(found.high[i]) if not known else found.high[i] == max(known)
        if known and np.isfinite(known).all() and max(map(abs, known)) < 1e300:
            np.testing.assert_allclose(
                found.mean[i],
                sum(known) / len(known),
                rtol=1e-9,
                atol=1e-300 + 1e-12 * max(map(abs, known)),
            )
