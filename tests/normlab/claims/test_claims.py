"""The files of claims are consistent, and verdicts follow from intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import pytest

from normlab.claims import report
from normlab.claims.claim import Claim, Effect, find_claim, first_part, load_claims
from normlab.claims.verdicts import Verdict, best_by_other_seeds, judge, weigh
from normlab.errors import InvalidSpec, NotFound
from normlab.records import ResultRow, ResultTable
from normlab.specs.cells import expand, label
from normlab.specs.job_rules import check

CLAIMS = load_claims()
every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))


@every_claim
@pytest.mark.parametrize("quick", [False, True])
def test_its_study_can_run(claim: Claim, quick: bool) -> None:
    cells = expand(claim.at(quick=quick))
    assert [p for cell in cells for p in check(cell.spec, None)] == []


@every_claim
def test_its_effects_compare_existing_cells(claim: Claim) -> None:
    cells = [{p: label(v) for p, v in c.coordinates.items()} for c in expand(claim.study)]
    for effect in claim.effects:
        for side in (effect.a, effect.b or {}):
            assert any(side.items() <= cell.items() for cell in cells), side
        assert set(claim.group_by) <= set(claim.study.paths)


def test_a_quick_study_is_not_the_real_one() -> None:
    claim = find_claim("a")
    assert claim.at(quick=True).fingerprint() != claim.study.fingerprint()
    assert claim.at() == claim.study
    assert claim.at(first_seed=100).seeds == (100, 101, 102, 103, 104)


def test_an_unknown_claim_points_to_the_list() -> None:
    with pytest.raises(NotFound, match="--list"):
        find_claim("z")


def test_a_file_that_is_not_a_claim_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("key: X")
    with pytest.raises(InvalidSpec, match=r"x\.yaml"):
        load_claims(tmp_path)


def row(kind: str, values: dict[int, float]) -> ResultRow:
    return ResultRow.model_validate({
        "coordinates": {"normalizer": kind}, "labels": {"normalizer": kind}, "n": len(values),
        "failed": 0, "mean": sum(values.values()) / max(len(values), 1) if values else None,
        "sd": None, "low": None, "high": None, "values": values, "jobs": {}, "states": {},
    })  # fmt: skip


def effect(expect: str, by: float = 0.0) -> Effect:
    sides: dict[str, Any] = {"a": {"normalizer": "a"}, "b": {"normalizer": "b"}}
    return Effect.model_validate({"name": "e", "expect": expect, "by": by, **sides})


ROWS = [row("a", {0: 0.90, 1: 0.91, 2: 0.92}), row("b", {0: 0.80, 1: 0.82, 2: 0.81})]


@pytest.mark.parametrize(
    ("expect", "by", "shows"),
    [("above", 0.0, True), ("above", 0.1, False), ("below", 0.0, False), ("within", 0.2, True),
     ("within", 0.05, False), ("not_below", 0.0, True)],
)  # fmt: skip
def test_an_effect_shows_when_its_whole_interval_does(expect: str, by: float, shows: bool) -> None:
    assert weigh(effect(expect, by), ROWS, 0.95).shows is shows


@pytest.mark.parametrize("b", [{}, {7: 0.5}, {0: 0.8}])
def test_without_enough_seeds_nothing_shows_and_the_reason_is_given(b: dict[int, float]) -> None:
    found = weigh(effect("above"), [ROWS[0], row("b", b)], 0.95)
    assert not found.shows
    assert "seed" in found.why


def test_a_side_without_a_value_is_named() -> None:
    nowhere = weigh(effect("above"), [ROWS[0]], 0.95)
    assert nowhere.why == "no cell is at normalizer b"
    assert weigh(effect("above"), [ROWS[0], row("b", {})], 0.95).why == (
        "no seed has a value at normalizer b"
    )


def test_an_effect_compares_with_a_number_too() -> None:
    raw = {"name": "e", "expect": "above", "a": {"normalizer": "a"}}
    assert weigh(Effect.model_validate({**raw, "than": 0.8}), ROWS, 0.95).shows
    assert not weigh(Effect.model_validate({**raw, "than": 0.9}), ROWS, 0.95).shows
    for sides in ({}, {"than": 1, "b": {"normalizer": "b"}}):
        with pytest.raises(ValueError, match="either b or than"):
            Effect.model_validate({**raw, **sides})


def test_not_below_accepts_equal_and_better_values() -> None:
    swapped = [row("a", ROWS[1].values), row("b", ROWS[0].values)]  # a is 0.10 below b
    assert not weigh(effect("not_below", 0.09), swapped, 0.95).shows
    assert weigh(effect("not_below", 0.2), swapped, 0.95).shows


def test_each_seed_takes_the_rate_that_is_best_for_the_others() -> None:
    slow, fast = {0: 0.90, 1: 0.60, 2: 0.60}, {0: 0.50, 1: 0.80, 2: 0.70}
    # seed 0 is better with slow, but the others with fast; without seed 1, slow has the better mean
    assert best_by_other_seeds([slow, fast]) == {0: 0.50, 1: 0.60, 2: 0.60}


def test_a_rate_at_which_a_seed_diverged_is_excluded() -> None:
    assert best_by_other_seeds([{0: 0.99}, {0: 0.5, 1: 0.6}]) == {0: 0.5, 1: 0.6}
    assert best_by_other_seeds([]) == {}


def test_an_effect_compares_each_side_at_its_own_best_rate() -> None:
    def at(rate: str, kind: str, value: float) -> ResultRow:
        both = {"normalizer": kind, "optimizer.lr": rate}
        values = dict.fromkeys(range(3), value)
        return row(kind, values).model_copy(update={"labels": both, "coordinates": both})

    rows = [at("0.1", "a", 0.7), at("0.2", "a", 0.9), at("0.1", "b", 0.8), at("0.2", "b", 0.4)]
    found = weigh(effect("above"), rows, 0.95, "optimizer.lr").estimate
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    blind = weigh(effect("above"), rows, 0.95)
    assert blind.estimate is None
    assert "differ in optimizer.lr, and such cells are not averaged" in blind.why


def test_the_best_of_a_loss_is_its_smallest() -> None:
    rates = [{0: 1.0, 1: 1.1}, {0: 0.5, 1: 0.4}]
    assert best_by_other_seeds(rates, smaller=True) == {0: 0.5, 1: 0.4}
    assert best_by_other_seeds(rates) == {0: 1.0, 1: 1.1}


def test_a_report_never_names_a_rate_at_which_a_seed_diverged_as_best() -> None:
    claim = find_claim("c")

    def at(rate: str, values: dict[int, float], n: int) -> ResultRow:
        both = {"normalizer": "batch", "optimizer.lr": rate}
        return row("batch", values).model_copy(update={"labels": both, "coordinates": both, "n": n})

    rows = [at("0.1", {0: 0.7, 1: 0.7}, 2), at("0.2", {0: 0.9}, 1)]
    table = ResultTable(
        study="s", metric="val/accuracy", reduction="last", interval="t", confidence=0.95,
        group_by=["normalizer", "optimizer.lr"], rows=rows,
    )  # fmt: skip
    verdict = Verdict(claim, table, ())
    assert "Best `optimizer.lr` over all seeds: batch 0.1." in report.section(verdict, "c.png")


@every_claim
@pytest.mark.parametrize("quick", [False, True])
def test_its_rows_and_effects_pool_nothing(claim: Claim, quick: bool) -> None:
    study = claim.at(quick=quick)
    cells = [{p: label(v) for p, v in c.coordinates.items()} for c in expand(study)
             if c.seed == study.seeds[0]]  # fmt: skip
    paths = list(claim.group_by) or study.paths
    places = {tuple(cell[path] for path in paths) for cell in cells}
    assert len(places) == len(cells)
    for side in [side for e in claim.effects for side in (e.a, e.b) if side is not None]:
        matching = [cell for cell in cells if side.items() <= cell.items()]
        assert len({cell.get(claim.best_over or "") for cell in matching}) == len(matching)


def test_jobs_that_follow_a_twin_come_after_it() -> None:
    study = find_claim("e").study
    first = first_part(study)
    assert first is not None
    keys = {cell.key for cell in expand(study)}
    early = {cell.key for cell in expand(first)}
    followers = [c.spec for c in expand(study) if c.spec.optimizer.norms_of == "twin"]
    assert len(keys) == len(early) + len(followers) == 4 * len(study.seeds)
    assert {spec.twin().fingerprint() for spec in followers} <= early < keys
    assert study.reuse
    assert first_part(find_claim("a").study) is None


class Answers:
    """A study with fixed rows."""

    def results(
        self, study: str, *, group_by: Sequence[str] | None = None, metric: str = "", **_: Any
    ) -> ResultTable:
        if metric == "unheard/of":
            raise InvalidSpec("no job of this study reported it")
        return ResultTable(study=study, metric="val/accuracy", reduction="last", interval="t",
                           confidence=0.95, group_by=["normalizer"], rows=ROWS)  # fmt: skip


def test_a_metric_that_no_job_reported_does_not_show() -> None:
    raw = CLAIMS["a-batch-size"].model_dump(mode="json", exclude_defaults=True)
    effects = [{**effect("above").model_dump(), "metric": "unheard/of"}]
    verdict = judge(Claim.model_validate({**raw, "effects": effects}), Answers(), "s")
    assert not verdict.shows
    assert "no job" in verdict.found[0].why


def test_a_verdict_needs_every_effect() -> None:
    raw = CLAIMS["a-batch-size"].model_dump(mode="json", exclude_defaults=True)
    both = [effect("above").model_dump(), effect("below").model_dump()]
    for effects, words in ((both[:1], "shows"), (both, "does not show")):
        verdict = judge(Claim.model_validate({**raw, "effects": effects}), Answers(), "s")
        assert verdict.words == words
        page = report.page([verdict], "a test", "normlab reproduce", "claims")
        assert f"## a-batch-size: {words}" in page
        assert "+0.1000" in page
        assert "[arXiv:1803.08494](https://arxiv.org/abs/1803.08494)" in page
        assert len(report.effect_lines(verdict)) == len(effects)
