"""Every claim has its picture, drawn from the results of its study."""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import Any, Sequence

import pytest

pytest.importorskip("matplotlib")

from normlab.claims.claim import Claim
from normlab.claims.gathering import best_table, cells, last_values, lines, name_of, readable, short
from normlab.claims.loading import load_claims
from normlab.claims.page import section
from normlab.claims.pictures import draw_claim
from normlab.claims.verdicts import ClaimVerdict
from normlab.errors import InvalidSpec
from normlab.presentation.intervals import estimate
from normlab.records import LastValue, ResultRow, ResultTable, SeriesRecord
from normlab.specs.cells import expand, label

CLAIMS = load_claims()


class Study:
    """A store with invented jobs: the seed at place i has the value 0.5 + i / 10 everywhere."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim

    @property
    def studies(self) -> Study:
        return self

    def results(
        self, study: str, *, group_by: Sequence[str] | None = None, metric: str = "", **_: Any
    ) -> ResultTable:
        paths = list(group_by or self.claim.study.paths)
        rows: dict[str, ResultRow] = {}
        for cell in expand(self.claim.study):
            labels = {p: label(cell.coordinates[p]) for p in paths}
            values = {s: 0.5 + i / 10 for i, s in enumerate(self.claim.study.seeds)}
            rows[str(labels)] = ResultRow(
                coordinates={p: cell.coordinates[p] for p in paths}, labels=labels, failed=0,
                values=values, jobs={s: str(i) for i, s in enumerate(values)},
                states=dict.fromkeys(values, "succeeded"), **vars(estimate(list(values.values()))),
            )  # fmt: skip
        return ResultTable(study=study, metric=metric, reduction="last", interval="t",
                           confidence=0.95, group_by=paths, rows=list(rows.values()))  # fmt: skip

    def get(self, job: str) -> Any:
        rises = {f"regularization/rise_{m}": 1 / m for m in (4, 8, 16, 32)}
        terms = ("channel_mean", "sample_mean", "channel_std", "sample_std", "total")
        sites = {f"power/{i}.norm/norm/{t}": 0.25 for i in range(12) for t in terms}
        return job_with({**rises, **sites})

    def metrics(self, job: str, *names: str) -> dict[str, Any]:
        found: dict[str, Any] = {"steps": [1, 2, 3], "values": [0.5 + int(job) / 10, nan, 0.7]}
        return {n: SeriesRecord(name=n, times=[], points=3, **found) for n in names}

    def diagnostics(self, job: str) -> list[Any]:
        curve = {"fractions": [0.0, 0.5], "mean": [0.9, 0.4 + int(job) / 100]}
        record = {"zero": curve, "mean": curve}
        return [type("D", (), {"name": "ablation", "record": record})()]


def job_with(values: dict[str, float]) -> Any:
    last = {n: LastValue(step=1, value=v, min=v, max=v) for n, v in values.items()}
    return type("Job", (), {"last": last})()


def verdict_of(claim: Claim, study: Study) -> ClaimVerdict:
    return ClaimVerdict(claim, study.results("s", group_by=claim.group_by, metric=claim.metric), ())


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_its_picture_can_be_drawn(claim: Claim, tmp_path: Path) -> None:
    study = Study(claim)
    target = draw_claim(verdict_of(claim, study), study, tmp_path / "x.png")
    assert target.read_bytes().startswith(b"\x89PNG")


def test_a_negative_rise_is_drawn_too(tmp_path: Path) -> None:
    class Untrained(Study):
        def get(self, job: str) -> Any:
            falls = {f"regularization/rise_{m}": -1 / m for m in (4, 8, 16, 32)}
            return job_with(falls)

    study = Untrained(CLAIMS["k-priors"])
    draw_claim(verdict_of(study.claim, study), study, tmp_path / "k.png")
    assert (tmp_path / "k.png").stat().st_size > 5000


def test_a_picture_without_any_finished_job_is_refused(tmp_path: Path) -> None:
    claim = CLAIMS["a-batch-size"]

    class Empty(Study):
        def results(self, study: str, **question: Any) -> ResultTable:
            table = super().results(study, **question)
            empty: dict[str, Any] = {"values": {}, "mean": None}
            rows = [row.model_copy(update=empty) for row in table.rows]
            return table.model_copy(update={"rows": rows})

    study = Empty(claim)
    with pytest.raises(InvalidSpec, match="yet"):
        draw_claim(verdict_of(claim, study), study, tmp_path / "x.png")


def test_the_best_table_has_one_row_per_setting() -> None:
    claim = CLAIMS["a-batch-size"]
    study = Study(claim)
    verdict = verdict_of(claim, study)
    found = best_table(verdict, cells(verdict, study))
    assert [row.labels["setting"] for row in found.rows][:2] == ["batch @ 32", "batch @ 8"]
    assert len(found.rows) == 4
    assert found.rows[0].mean == pytest.approx(0.5 + 0.05 * (len(claim.study.seeds) - 1))


def test_the_values_at_the_end_are_gathered_from_every_seed() -> None:
    claim = CLAIMS["k-priors"]
    study = Study(claim)
    (row, *_) = cells(verdict_of(claim, study), study)
    found = last_values(study, row, "regularization/rise_")
    assert found == {str(m): [1 / m] * len(claim.study.seeds) for m in (4, 8, 16, 32)}


def test_series_are_cut_to_the_steps_that_every_seed_has() -> None:
    claim = CLAIMS["h-switchable"]
    study = Study(claim)
    (row, *_) = cells(verdict_of(claim, study), study)
    steps, seeds = lines(study, row, ["m"])["m"]
    assert steps == [1.0, 3.0]  # at 2 it is NaN
    assert len(seeds) == len(claim.study.seeds)
    assert seeds[1] == [0.6, 0.7]


def test_labels_are_short() -> None:
    assert short("batch(virtual_batch_size=4)") == "batch over 4"
    assert short("group(groups=4, proxy_weight_decay=0.0005)+proxy") == "group(groups=4) + proxy"
    assert short("online") == "online"
    row = CLAIMS["a-batch-size"]
    cell = Study(row).results("s").rows[0]
    assert name_of(cell) == "batch @ 32 @ 0.05"
    assert name_of(cell, "optimizer.lr") == "batch @ 32"
    swapped = Study(CLAIMS["r-swapped-normalizer"]).results("s").rows[-1]
    assert name_of(swapped, "optimizer.lr") == "online from its twin @ 2"


def test_a_table_says_in_words_where_weights_come_from() -> None:
    table = Study(CLAIMS["r-swapped-normalizer"]).results("s")
    said = {row.labels["init_from"] for row in readable(table).rows}
    assert said == {"fresh weights", "its twin"}
    another = table.rows[-1].model_copy(
        update={"labels": {**table.rows[-1].labels, "init_from": "(twin=(epochs=9))"}}
    )
    both = table.model_copy(update={"rows": [*table.rows, another]})
    assert readable(both) == both, "two kinds of twins are told apart by their settings"


def test_the_page_names_the_best_rate_of_each_kind() -> None:
    claim = CLAIMS["f-bounded-weight"]
    verdict = verdict_of(claim, Study(claim))
    rows = [r.model_copy(update={"mean": 0.9 if r.labels["optimizer.lr"] == "0.1" else 0.8})
            for r in verdict.table.rows]  # fmt: skip
    verdict = ClaimVerdict(claim, verdict.table.model_copy(update={"rows": rows}), ())
    said = "`optimizer.lr` by the tuning seeds: batch 0.1, weight 0.1, bounded_weight 0.1."
    assert f"Chosen {said}" in section(verdict, "f.png")
