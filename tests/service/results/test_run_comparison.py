from __future__ import annotations

import math

import pytest

from normlab.errors import InvalidSpec, NotFound
from normlab.records.comparing import CompareQuestion
from service.jobs import trash
from service.results import run_comparison
from service.results.seed_groups import BySeed, mean_of, with_digits
from service.store.database import Database
from tests.service.results.test_seed_groups import run
from tests.service.work import submit


def test_runs_are_compared_seed_by_seed_against_the_reference(database: Database) -> None:
    batch = [run(database, v, seed=i) for i, v in enumerate([0.5, 0.6, 0.7])]
    group = [run(database, v, seed=i, normalizer="group") for i, v in enumerate([0.6, 0.8, 0.8])]
    question = CompareQuestion(jobs=[*group, *batch], reference=batch[1])
    found = run_comparison.compare(database, question)
    assert found.reference == 1
    assert found.differing["normalizer.kind"] == ["group", "batch"]
    assert "seed" not in found.differing
    assert (found.telling, found.groups[0].label) == (["normalizer.kind"], "group")
    difference = found.groups[0].difference
    assert difference is not None
    assert (difference.n, difference.mean) == (3, pytest.approx(0.4 / 3))
    # by hand: differences .1 .2 .1, sd .057735, t = 4.0 with 2 degrees of freedom
    assert difference.p == pytest.approx(0.0572, abs=1e-4)
    assert difference.p_adjusted == difference.p
    assert (found.groups[1].difference, found.groups[1].why) == (None, "the reference")
    assert [r.group for r in found.runs] == [0, 0, 0, 1, 1, 1]
    texts = [(group.mean.mean_text, group.mean.half_text) for group in found.groups if group.mean]
    assert texts == [("0.73", "0.29"), ("0.60", "0.25")]


def test_means_and_differences_of_bytes_have_one_unit() -> None:
    means = [mean_of(BySeed({0: v, 1: v + 2e6}, {})) for v in (3.1e8, 3.15e8)]
    shown = [mean.mean_text for mean in with_digits(means, "device/memory_peak_bytes")]
    assert shown == ["297 MiB", "301 MiB"]


def test_why_there_is_no_test_is_said(database: Database) -> None:
    jobs = [run(database, 0.5, seed=0), run(database, 0.6, seed=0, epochs=2)]
    jobs += [run(database, 0.6, seed=7, epochs=3), submit(database, epochs=4).id]
    found = run_comparison.compare(database, CompareQuestion(jobs=jobs))
    assert [group.why for group in found.groups] == [
        "the reference",
        "only one seed in common, so there is no interval and no test",
        "no seed in common with the reference",
        "no succeeded run has this number",
    ]
    assert found.differing == {"epochs": [5, 2, 3, 4]}


def test_seeds_that_are_not_finite_are_left_out_of_a_difference_and_named(
    database: Database,
) -> None:
    jobs = [run(database, v, seed=i) for i, v in enumerate([0.5, 0.6, math.nan])]
    jobs += [run(database, v, seed=i, epochs=2) for i, v in enumerate([0.7, math.inf, 0.9])]
    jobs += [run(database, math.nan, seed=i, epochs=3) for i in range(2)]
    jobs += [run(database, 0.5, seed=2, epochs=4)]
    reference, other, never, apart = run_comparison.compare(
        database, CompareQuestion(jobs=jobs)
    ).groups
    assert (reference.values, reference.excluded) == ({0: 0.5, 1: 0.6}, {2: "NaN"})
    assert other.difference is not None
    assert (other.difference.n, other.difference.mean) == (1, pytest.approx(0.2))
    assert other.difference.excluded == {1: "Infinity", 2: "NaN"}
    assert (never.mean, never.difference) == (None, None)
    assert never.why == "no run has a finite number: 2 NaN"
    assert apart.why == "no seed with a finite number on both sides: 1 NaN"


def test_two_thousand_runs_are_refused_with_the_limit_and_the_way_out(database: Database) -> None:
    question = CompareQuestion(jobs=[f"{i}" for i in range(2000)])
    with pytest.raises(InvalidSpec, match=r"2,000 runs are too many; at most 100.*group the table"):
        run_comparison.compare(database, question)


def test_a_run_that_does_not_exist_is_not_found(database: Database) -> None:
    jobs = [submit(database).id, "01890000-0000-7000-8000-000000000000"]
    with pytest.raises(NotFound, match="01890000"):
        run_comparison.compare(database, CompareQuestion(jobs=jobs))


def test_runs_that_are_gone_are_left_out_and_named_if_a_question_allows_it(
    database: Database,
) -> None:
    kept = [run(database, 0.5, seed=0), run(database, 0.7, seed=1)]
    deleted, nobody = run(database, 0.9, seed=2), "01890000-0000-7000-8000-000000000000"
    trash.trash(database, deleted)
    asked = [kept[0].upper(), deleted, nobody, "<b>", kept[1]]
    question = CompareQuestion(jobs=asked, reference=deleted, leave_out_gone=True)
    found = run_comparison.compare(database, question)
    assert found.gone == [deleted, nobody, "<b>"]
    assert sorted(one.id for one in found.runs) == sorted(kept)
    assert (found.groups[0].seeds, found.groups[0].values) == ([0, 1], {0: 0.5, 1: 0.7})


@pytest.mark.parametrize("jobs", [["x"], ["x", "01890000-0000-7000-8000-000000000000"]])
def test_nothing_is_left_to_compare_if_all_runs_are_gone(
    database: Database, jobs: list[str]
) -> None:
    question = CompareQuestion(jobs=jobs, leave_out_gone=True)
    with pytest.raises(NotFound, match=r"not found|none of these runs was found"):
        run_comparison.compare(database, question)


@pytest.mark.parametrize("metric", ["seed", "optimizer.lr"])
def test_only_metrics_are_compared(database: Database, metric: str) -> None:
    question = CompareQuestion(jobs=[submit(database).id], metric=metric)
    with pytest.raises(InvalidSpec, match="a metric such as"):
        run_comparison.compare(database, question)
