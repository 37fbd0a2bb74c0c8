"""`normlab reproduce` adds seeds until each effect is decided, and reports their states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from normlab.claims.claim import Claim
from normlab.claims.loading import load_claims
from normlab.claims.tuning import chosen, tuning_study
from normlab.cli.claim_rounds import run_claim
from normlab.cli.claims_progress import ClaimsProgress
from normlab.errors import InvalidSpec
from normlab.records import ResultRow, ResultTable
from normlab.specs.cells import expand, label
from normlab.specs.studies import StudySpec

A, B = "layer", "layer(proxy_weight_decay=0.0005)+proxy"
METRIC = "power/4.layer/norm/channel_mean"


class Studies:
    """Studies whose jobs end at once: a is above b by *ahead*, with noise that fades away."""

    def __init__(self, ahead: float, fails: bool = False) -> None:
        self.ahead = ahead
        self.fails = fails
        self.specs: list[StudySpec] = []

    @property
    def studies(self) -> Studies:
        return self

    def create(self, spec: StudySpec) -> Any:
        self.specs.append(spec)
        return self.complete("s")

    def complete(self, study: str) -> Any:
        return SimpleNamespace(id=study, cells=1, counts={"succeeded": 0 if self.fails else 1})

    def wait(self, study: str, progress: Any) -> Any:
        return self.complete(study)

    def results(self, study: str, **_: Any) -> ResultTable:
        seeds = self.specs[-1].seeds
        if not seeds:
            raise InvalidSpec("no seed")
        rows = [self.row(A, {s: self.ahead + 0.1 * (-1) ** s for s in seeds}),
                self.row(B, dict.fromkeys(seeds, 0.0))]  # fmt: skip
        return ResultTable(study=study, metric=METRIC, reduction="last", interval="t",
                           confidence=0.95, group_by=["normalizer"], rows=rows)  # fmt: skip

    @staticmethod
    def row(name: str, values: dict[int, float]) -> ResultRow:
        return ResultRow.model_validate({
            "coordinates": {"normalizer": name}, "labels": {"normalizer": name},
            "n": len(values), "failed": 0, "mean": 0.0, "sd": None, "low": None, "high": None,
            "values": values, "jobs": {}, "states": {},
        })  # fmt: skip


def claim() -> Claim:
    raw = load_claims()["b-collapse"].model_dump(mode="json", exclude_defaults=True)
    raw["study"]["seeds"] = [0, 1, 2]
    decide = {"by": 0.05, "at_most": 24, "rarest": 0.5}
    return Claim.model_validate({**raw, "effects": raw["effects"][:1], "decide": decide})


@pytest.mark.parametrize(
    ("ahead", "seeds", "word"),
    [(2.0, [6], "shows"), (0.19, [6, 9, 14, 24], "shows"), (-2.0, [6], "contradicts"),
     (0.05, [6, 9, 14, 24], "undecided")],
)  # fmt: skip
def test_rounds_go_on_until_it_is_decided_or_the_limit_is_met(
    ahead: float, seeds: list[int], word: str
) -> None:
    client = Studies(ahead)
    verdict, whole = run_claim(client, claim(), claim().at(), quiet=True)
    assert whole
    assert [len(spec.seeds) for spec in client.specs] == seeds
    assert verdict.words == word


def test_quick_runs_and_other_seeds_leave_the_tuning_seeds_alone() -> None:
    raw = claim().model_dump(mode="json", exclude_defaults=True)
    raw["study"]["seeds"] = [11, 12, 13]
    tuning = {"tuning_seeds": [1, 2], "best_over": "optimizer.lr"}
    tuned = Claim.model_validate({**raw, **tuning, "quick": {"set": {"seeds": 2}}})
    assert tuned.at(quick=True).seeds == (0, 3)
    assert tuned.at(seeds=3).seeds == (0, 3, 4)
    assert tuned.at(first_seed=2).seeds == (3, 4, 5)
    assert tuned.at(seeds=2, first_seed=5).seeds == (5, 6)
    assert tuned.at().seeds == (11, 12, 13)
    for study in (tuned.at(quick=True), tuned.at(seeds=3)):
        tuning = tuning_study(tuned, study)
        assert tuning is not None
        assert tuning.seeds == (1, 2)
        for part in tuned.rounds(study):
            assert {1, 2}.isdisjoint(part.seeds)


class Rates(Studies):
    """Layer norm is best at a rate of 0.1 on the tuning seeds, and its proxy at 0.2."""

    def results(self, study: str, **_: Any) -> ResultTable:
        spec = self.specs[-1]
        rows = [self.at(c.coordinates, spec.seeds) for c in expand(spec) if c.seed == spec.seeds[0]]
        return ResultTable(study=study, metric=METRIC, reduction="last", interval="t",
                           confidence=0.95, group_by=spec.paths, rows=rows)  # fmt: skip

    @staticmethod
    def at(coordinates: dict[str, Any], seeds: tuple[int, ...]) -> ResultRow:
        labels = {path: label(value) for path, value in coordinates.items()}
        good = labels["normalizer"] == A, labels["optimizer.lr"] == "0.1"
        mean = 1.0 if good[0] is good[1] else 0.5
        return ResultRow.model_validate({
            "coordinates": coordinates, "labels": labels, "n": len(seeds), "failed": 0,
            "mean": mean, "sd": None, "low": None, "high": None,
            "values": dict.fromkeys(seeds, mean), "jobs": {}, "states": {},
        })  # fmt: skip


def test_judging_seeds_run_only_what_the_tuning_seeds_chose() -> None:
    raw = claim().model_dump(mode="json", exclude_defaults=True)
    raw["study"]["axes"] = {"normalizer": [A, {"kind": "layer", "proxy": True,
                            "proxy_weight_decay": 0.0005}], "optimizer.lr": [0.1, 0.2]}  # fmt: skip
    raw["study"]["seeds"] = [11, 12]
    raw.update(tuning_seeds=[1, 2], best_over="optimizer.lr", decide=None)
    tuned = Claim.model_validate(raw)
    client = Rates(0)
    verdict, whole = run_claim(client, tuned, tuned.at(), quiet=True)
    assert whole
    tuning, judging = client.specs
    assert tuning.seeds == (1, 2)
    assert len(expand(tuning)) == 8
    assert judging.seeds == (11, 12)
    found = {(label(c.coordinates["normalizer"]), c.coordinates["optimizer.lr"])
             for c in expand(judging)}  # fmt: skip
    assert found == {(A, 0.1), (B, 0.2)}
    assert verdict.tuned is not None
    assert len(verdict.tuned.rows) == 4


def test_a_rate_at_which_a_tuning_seed_diverged_is_not_chosen() -> None:
    raw = claim().model_dump(mode="json", exclude_defaults=True)
    tuned = Claim.model_validate({**raw, "tuning_seeds": [11, 12], "best_over": "optimizer.lr"})
    fast = Rates.at({"normalizer": "layer", "optimizer.lr": 0.1}, (11,))
    slow = Rates.at({"normalizer": "layer", "optimizer.lr": 0.2}, (11, 12))
    assert chosen(tuned, [fast, slow]) == (slow,)
    with pytest.raises(InvalidSpec, match="nothing to choose"):
        chosen(tuned, [fast])


def test_a_round_that_failed_is_the_last_one() -> None:
    client = Studies(0.05, fails=True)
    assert not run_claim(client, claim(), claim().at(), quiet=True)[1]
    assert len(client.specs) == 1


def test_each_round_says_how_the_effects_stand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normlab.cli.results.print_results", lambda *_: None)
    run_claim(Studies(0.05), claim(), claim().at(), quiet=False)
    said = capsys.readouterr()
    for seeds in (6, 9, 14):
        assert f"b-collapse after {seeds} seeds: 1 undecided" in said.err
    assert "verdict: b-collapse undecided (1 undecided)" in said.out


def test_each_round_says_how_much_time_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normlab.cli.results.print_results", lambda *_: None)
    now = [0.0]
    progress = ClaimsProgress({"b-collapse": [6.0, 3.0, 5.0, 10.0], "other": [6.0]}, lambda: now[0])

    class Timed(Studies):
        def wait(self, study: str, progress: Any) -> Any:
            now[0] += 60.0 * (len(self.specs[-1].seeds) - (0, 6, 9, 14)[len(self.specs) - 1])
            return super().wait(study, progress)

    run_claim(Timed(0.05), claim(), claim().at(), quiet=False, progress=progress)
    said = [line for line in capsys.readouterr().err.splitlines() if " after " in line]
    left = [line.rpartition("; at most about ")[2] for line in said]
    assert left == ["24 min left", "21 min left", "16 min left", "6 min left"]
