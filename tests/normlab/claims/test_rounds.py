"""`normlab reproduce` adds seeds until each effect is decided, and says how the effects stand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from normlab.claims.claim import Claim, load_claims
from normlab.cli.reproduce import _run
from normlab.errors import InvalidSpec
from normlab.records import ResultRow, ResultTable
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
    verdict, whole = _run(client, claim(), claim().at(), quiet=True)
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
        for part in tuned.rounds(study):
            assert part.seeds[:2] == (1, 2)
            assert len(set(part.seeds)) == len(part.seeds)


def test_a_round_that_failed_is_the_last_one() -> None:
    client = Studies(0.05, fails=True)
    assert not _run(client, claim(), claim().at(), quiet=True)[1]
    assert len(client.specs) == 1


def test_each_round_says_how_the_effects_stand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normlab.cli.results.print_results", lambda *_: None)
    _run(Studies(0.05), claim(), claim().at(), quiet=False)
    said = capsys.readouterr()
    for seeds in (6, 9, 14):
        assert f"b-collapse after {seeds} seeds: 1 undecided" in said.err
    assert "verdict: b-collapse undecided (1 undecided)" in said.out
