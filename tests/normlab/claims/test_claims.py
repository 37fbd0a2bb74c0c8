"""The files of claims are consistent, and verdicts follow from intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import pytest

from normlab.claims import page, report
from normlab.claims.claim import Claim, Effect, first_part
from normlab.claims.loading import find_claim, load_claims
from normlab.claims.tuning import tuning_study
from normlab.claims.verdicts import ClaimVerdict, EffectResult, best_by_other_seeds, judge, weigh
from normlab.cli.claims_asked import on_dataset
from normlab.errors import InvalidSpec, NotFound
from normlab.records import ResultRow, ResultTable
from normlab.specs.cells import expand, label
from normlab.specs.job_rules import check
from normlab.specs.starting_twins import starting_twin
from normlab.specs.studies import StudySpec

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
    assert claim.at(first_seed=100).seeds == tuple(range(100, 120))


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


ROWS = [row("a", {i: 0.90 + 0.01 * (i % 3) for i in range(16)}),
        row("b", {i: 0.80 + 0.01 * (i % 2) for i in range(16)})]  # fmt: skip


def claim_of(*effects: Effect, **fields: Any) -> Claim:
    looks = {"decide", "tuning_seeds", "best_over"}  # one look at all seeds, and nothing is chosen
    raw = CLAIMS["m-unet"].model_dump(mode="json", exclude_defaults=True, exclude=looks)
    raw["study"]["seeds"] = [1, 2, 3]
    return Claim.model_validate({**raw, "effects": [e.model_dump() for e in effects], **fields})


def found(
    of: Effect, rows: Sequence[ResultRow] = ROWS, seeds: int = 16, **fields: Any
) -> EffectResult:
    return weigh(claim_of(of, **fields), [list(rows)], range(seeds), [seeds])[0]


@pytest.mark.parametrize(
    ("expect", "by", "verdict"),
    [("above", 0.0, "shows"), ("above", 0.105, "undecided"), ("above", 0.2, "contradicts"),
     ("below", 0.0, "contradicts"), ("within", 0.2, "shows"), ("within", 0.05, "contradicts"),
     ("within", 0.105, "undecided"), ("not_below", 0.0, "shows")],
)  # fmt: skip
def test_the_side_of_its_whole_interval_decides_an_effect(
    expect: str, by: float, verdict: str
) -> None:
    assert found(effect(expect, by)).verdict == verdict


def test_what_is_not_below_may_be_lower_by_the_margin() -> None:
    swapped = [row("a", ROWS[1].values), row("b", ROWS[0].values)]  # a is 0.10 below b
    assert found(effect("not_below", 0.05), swapped).verdict == "contradicts"
    assert found(effect("not_below", 0.2), swapped).verdict == "shows"


def test_undecided_says_what_would_have_shown_and_how_many_more_would_decide() -> None:
    claim = claim_of(effect("above", 0.1), effect("above", 0.0))
    verdict = ClaimVerdict(claim, table(), weigh(claim, [ROWS, ROWS], range(16), [16]))
    line, other = report.effect_lines(verdict)
    assert line.startswith("undecided")
    assert "inside the limit would have shown, about" in line
    assert "more seeds would decide" in line
    assert other.startswith("shows ")
    assert (verdict.words, verdict.counts) == ("undecided", "1 shows, 1 undecided")


def test_failed_seeds_and_ties_are_counted_and_stand_against_either_verdict() -> None:
    b = {i: v for i, v in ROWS[1].values.items() if i > 2}
    lacking = found(effect("above"), [ROWS[0], row("b", {**b, 3: ROWS[0].values[3]})])
    assert lacking.finding is not None
    assert (lacking.finding.pairs, lacking.finding.failed, lacking.finding.ties) == (13, 3, 1)
    assert found(effect("above", 0.05)).verdict == "shows"
    assert found(effect("above", 0.05), [ROWS[0], row("b", b)]).verdict == "undecided"


def test_many_effects_are_corrected_together() -> None:
    near = effect("above", 0.0957)
    alone, many = found(near), claim_of(near, *[effect("above", 0.105)] * 9)
    assert alone.verdict == "shows"
    assert weigh(many, [ROWS] * 10, range(16), [16])[0].verdict == "undecided"


def test_without_enough_seeds_nothing_shows_and_the_reason_is_said() -> None:
    elsewhere = found(effect("above"), [ROWS[0], row("b", {40: 0.5})])
    assert (elsewhere.verdict, elsewhere.why) == (
        "undecided", "no seed has a value at normalizer b"
    )  # fmt: skip
    for seeds in (1, 2):
        few = found(effect("above"), seeds=seeds)
        assert (few.verdict, few.why) == ("undecided", "needs 3 seeds or more")


def test_a_side_without_a_value_is_named() -> None:
    assert found(effect("above"), [ROWS[0]]).why == "no cell is at normalizer b"
    nothing = found(effect("above"), [ROWS[0], row("b", {})])
    assert nothing.why == "no seed has a value at normalizer b"


def test_an_effect_compares_with_a_number_too() -> None:
    raw = {"name": "e", "expect": "above", "a": {"normalizer": "a"}}
    assert found(Effect.model_validate({**raw, "than": 0.8})).verdict == "shows"
    assert found(Effect.model_validate({**raw, "than": 0.95})).verdict == "contradicts"
    for sides in ({}, {"than": 1, "b": {"normalizer": "b"}}):
        with pytest.raises(ValueError, match="either b or than"):
            Effect.model_validate({**raw, **sides})


DECIDE = {"by": 0.01, "at_most": 24, "rarest": 0.5}


def test_what_an_early_look_decided_stays() -> None:
    claim = claim_of(effect("above"), decide=DECIDE)
    turning = [row("a", {i: 0.9 + 0.001 * (i % 3) if i < 6 else 0.1 for i in range(24)}),
               row("b", dict.fromkeys(range(24), 0.5))]  # fmt: skip
    first = weigh(claim, [turning], range(6), [6])[0]
    assert first.verdict == "shows"
    assert weigh(claim, [turning], range(24), [6, 9, 14, 24])[0] == first


def test_a_claim_that_decides_adds_seeds_round_after_round() -> None:
    claim = claim_of(effect("above"), decide=DECIDE)
    rounds = claim.rounds(claim.at(first_seed=100))
    assert [len(part.seeds) for part in rounds] == [6, 9, 14, 24]
    assert rounds[0].seeds == (100, 101, 102, 0, 1, 2)
    assert len({part.name for part in rounds}) == 4


def test_the_report_says_what_the_rounds_can_find() -> None:
    claim = claim_of(effect("above"), decide=DECIDE)
    said = page.section(ClaimVerdict(claim, table(), ()), "b.png")
    assert "Up to 24 seeds: a difference 0.01 inside its limit shows with a power of 0.9" in said


@pytest.mark.parametrize(
    ("fields", "rule"),
    [({"tuning_seeds": [2, 9], "best_over": "optimizer.lr"}, r"seeds \[2\] are among"),
     ({"tuning_seeds": [9]}, "name its path"),
     ({"decide": {"by": 0.01, "at_most": 8}}, "fewer than the 16 seeds")],
)  # fmt: skip
def test_a_protocol_that_cannot_hold_is_refused(fields: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        claim_of(effect("above"), **fields)


def test_the_protocol_changes_with_the_question_and_not_with_its_words() -> None:
    claim = claim_of(effect("above"))
    renamed = effect("above").model_copy(update={"name": "another"})
    assert claim_of(renamed, says="other words", title="t").protocol() == claim.protocol()
    for changed in (claim_of(effect("above", 0.02)), claim_of(effect("above"), decide=DECIDE),
                    claim_of(effect("above"), best_over="optimizer.lr")):  # fmt: skip
        assert changed.protocol() != claim.protocol()


def test_a_study_on_another_dataset_is_the_same_but_for_its_samples() -> None:
    own = find_claim("a").study
    other = on_dataset(own, "cifar10")
    assert other.base["dataset"] == {"name": "cifar10"}
    same = {"base": own.base, "name": own.name}
    assert other.model_copy(update=same) == own
    assert {c.spec.dataset.name for c in expand(other)} == {"cifar10"}


@pytest.mark.parametrize(
    ("key", "dataset", "rule"),
    [("a", "cifar11", "no such dataset"), ("m", "cifar10", "it is for classification")],
)
def test_a_dataset_that_cannot_answer_is_refused(key: str, dataset: str, rule: str) -> None:
    with pytest.raises(InvalidSpec, match=rule):
        on_dataset(find_claim(key).study, dataset)


def table() -> ResultTable:
    return ResultTable(study="s", metric="val/accuracy", reduction="last", interval="t",
                       confidence=0.95, group_by=["normalizer"], rows=ROWS)  # fmt: skip


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
    best = found(effect("above"), rows, 3, best_over="optimizer.lr").finding
    assert best is not None
    assert best.mean == pytest.approx(0.1)
    blind = found(effect("above"), rows, 3)
    assert blind.finding is None
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
    verdict = ClaimVerdict(claim, table, ())
    said = "Chosen `optimizer.lr` by the tuning seeds: batch 0.1."
    assert said in page.section(verdict, "c.png")


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


def test_jobs_that_start_from_a_twin_come_after_it() -> None:
    start = {"twin": {"normalizer": "batch", "epochs": 3}, "normalizers": "swap"}
    study = StudySpec.model_validate({
        "name": "two stages",
        "axes": [{"normalizer": ["batch", "group", "group"], "init_from": [None, None, start],
                  "epochs": [3, 1, 1]}],
        "seeds": [0, 1],
    })  # fmt: skip
    first = first_part(study)
    assert first is not None
    early = {cell.key for cell in expand(first)}
    late = [cell.spec for cell in expand(study) if cell.key not in early]
    twins = [starting_twin(spec) for spec in late]
    assert len(early) == 4
    assert [spec.normalizer.kind for spec in late] == ["group"] * 2
    assert {twin.fingerprint() for twin in twins if twin is not None} <= early


TWO_STAGES = [claim for claim in CLAIMS.values() if "init_from" in claim.study.paths]


@pytest.mark.parametrize("claim", TWO_STAGES, ids=[claim.key for claim in TWO_STAGES])
@pytest.mark.parametrize("quick", [False, True])
def test_the_twins_that_its_jobs_start_from_are_its_own_and_come_before(
    claim: Claim, quick: bool
) -> None:
    study = claim.at(quick=quick)
    for part in (study, tuning_study(claim, study) or study):
        first = first_part(part)
        assert first is not None
        early = {cell.spec.fingerprint() for cell in expand(first)}
        twins = [twin for twin in (starting_twin(cell.spec) for cell in expand(part)) if twin]
        assert twins
        assert {twin.fingerprint() for twin in twins} <= early


class Answers:
    """A study with fixed rows."""

    def results(
        self, study: str, *, group_by: Sequence[str] | None = None, metric: str = "", **_: Any
    ) -> ResultTable:
        if metric == "unheard/of":
            raise InvalidSpec("no job of this study reported it")
        return table()


def test_a_metric_that_no_job_reported_is_undecided_and_said() -> None:
    unheard = effect("above").model_copy(update={"metric": "unheard/of"})
    verdict = judge(claim_of(unheard), Answers(), "s", range(16), [16])
    assert verdict.words == "undecided"
    assert "no job" in verdict.found[0].why


def test_the_sentence_of_what_contradicts_counts_in_plain_english() -> None:
    low = effect("below")
    for effects, said in (
        ([low], "1 of 1 contradicts what"),
        ([low, low], "2 of 2 contradict what"),
    ):
        verdict = judge(claim_of(*effects), Answers(), "s", range(16), [16])
        assert page.sentence(verdict).startswith(said)


def test_a_verdict_shows_with_every_effect_and_contradicts_with_any() -> None:
    high, low, open_ = effect("above"), effect("below"), effect("above", 0.105)
    for effects, words in (((high,), "shows"), ((high, low), "contradicts"),
                           ((high, open_), "undecided")):  # fmt: skip
        verdict = judge(claim_of(*effects), Answers(), "s", range(16), [16])
        assert verdict.words == words
        text = page.page([page.entry(verdict, "claims")], [], "claims")
        assert f"## m-unet: {words}" in text
        assert f"1 claims: **{int(words == 'shows')}** shows, " in text
        assert f"| **{words}**: {verdict.claim.title} |" in text
        assert f"**{page.sentence(verdict)}**" in text
        assert f"Effects: {verdict.counts}. Protocol `{verdict.claim.protocol()[:12]}`" in text
        assert "[arXiv:1905.05894](https://arxiv.org/abs/1905.05894)" in text
        assert len(report.effect_lines(verdict)) == len(effects)
