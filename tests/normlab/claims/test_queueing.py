"""Claims are queued at once, except those that can reuse cells that are still running."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from normlab.claims import page
from normlab.claims.claim import Claim
from normlab.claims.loading import load_claims
from normlab.claims.report import protocol
from normlab.claims.workload import stages
from normlab.cli import claims_queue
from normlab.cli.claims_asked import for_task_of
from normlab.cli.claims_progress import ClaimsProgress
from normlab.cli.claims_queue import Ahead, keys, run_all
from normlab.cli.reproduce import write_page

CLAIMS = load_claims()


class Recorder:
    """A client that records the created studies."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def studies(self) -> Recorder:
        return self

    def create(self, spec: Any) -> Any:
        self.names.append(spec.name)
        return SimpleNamespace(counts={})

    def devices(self) -> list[Any]:
        return [SimpleNamespace(workers=[SimpleNamespace(description="a CPU")] * 2)]


def ahead_of(client: Recorder, *claims: str) -> Ahead:
    firsts = {key: CLAIMS[key].study for key in claims}
    return Ahead(client, firsts, ClaimsProgress({key: [1.0] for key in claims}))


def test_a_study_that_shares_cells_waits_until_they_are_done() -> None:
    a, renorm, h = (CLAIMS[key].study for key in ("a-batch-size", "l-renorm", "h-switchable"))
    client = Recorder()
    ahead = ahead_of(client, "a-batch-size", "l-renorm", "h-switchable")
    ahead.queue()
    assert ahead.waiting == ["l-renorm"]
    assert client.names == [a.name, h.name]
    ahead.ended("a-batch-size")
    ahead.queue()
    assert ahead.waiting == []
    assert client.names[-1] == renorm.name


def test_the_first_part_of_a_steered_study_is_queued() -> None:
    client = Recorder()
    ahead_of(client, "e-norm-correction").queue()
    assert client.names == [f"{CLAIMS['e-norm-correction'].study.name}, first part"]


def test_a_claim_is_all_its_stages_and_not_its_first_one_alone() -> None:
    claim = CLAIMS["l-renorm"]
    tuning, *rounds = stages(claim, claim.study)
    per_seed = tuning / 2 / 5  # two tuning seeds at each of five rates
    assert [round(work / per_seed) for work in rounds] == [20]
    g2 = CLAIMS["g2-gradient-bias"]
    assert len(stages(g2, g2.study)) == len(g2.rounds(g2.study))


def test_the_first_round_of_a_claim_that_decides_is_queued_and_trained_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Recorder()
    decide = {"by": 0.05, "at_most": 24, "rarest": 0.5}
    raw = [
        CLAIMS[key].model_dump(mode="json", exclude_defaults=True, exclude={"tuning_seeds"})
        for key in ("b-collapse", "m-unet")
    ]
    for one in raw:
        one["study"]["seeds"] = [0, 1, 2]
    claims = [Claim.model_validate({**one, "decide": decide}) for one in raw]
    firsts = [claim.rounds(claim.study)[0] for claim in claims]

    def run(client: Recorder, claim: Any, spec: Any, *_: Any) -> tuple[Any, bool]:
        client.create(claim.rounds(spec)[0])
        return SimpleNamespace(words="shows"), True

    monkeypatch.setattr(claims_queue, "run_claim", run)
    run_all(client, [(claim, claim.study) for claim in claims], quiet=True)
    names = [first.name for first in firsts]
    assert client.names == [*names, *names]  # a study of the same name and cells is the same
    assert [len(first.seeds) for first in firsts] == [6, 6]


def test_every_claim_gets_its_turn() -> None:
    client = Recorder()
    ahead = ahead_of(client, *CLAIMS)
    for key in CLAIMS:
        ahead.queue()
        ahead.ended(key)
    assert ahead.waiting == []
    assert len(client.names) == len(set(client.names)) == len(CLAIMS)


def test_one_kind_is_trained_once_for_all_claims() -> None:
    shared = keys(CLAIMS["a-batch-size"].study) & keys(CLAIMS["l-renorm"].study)
    assert len(shared) == 200  # batch and group + proxy at 2, five rates, twenty seeds


def test_a_page_keeps_what_it_says_of_claims_that_were_not_run(tmp_path: Path) -> None:
    target = tmp_path / "claims.md"
    write_page(Recorder(), [], target)
    text = target.read_text(encoding="utf-8")
    assert text.count("not run with this protocol") == len(CLAIMS)
    claim = CLAIMS["d-l1"]
    old = page.Entry(
        "d-l1", claim.title, "shows", "7 shows", "## d-l1: shows\n\n" + protocol(claim)
    )
    stale = page.Entry("c-proxy-gap", "of old", "shows", "6 shows", "## c-proxy-gap: shows\n\nold")
    target.write_text(page.page([old, stale], [], "claims"), encoding="utf-8")
    write_page(Recorder(), [], target)
    text = target.read_text(encoding="utf-8")
    assert "1 claims: **1** shows" in text
    assert f"## d-l1: shows\n\nProtocol `{claim.protocol()[:12]}`" in text
    assert "## c-proxy-gap" not in text
    assert text.count("not run with this protocol") == len(CLAIMS) - 1


def test_on_another_dataset_claims_about_other_tasks_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    claims = list(CLAIMS.values())
    kept = [claim.key for claim in for_task_of("cifar10", claims)]
    left = [key for key in CLAIMS if key not in kept]
    assert left == ["m-unet", "n-lstm", "o-detection", "p-style"]
    assert f"left out, about another task: {', '.join(left)}" in capsys.readouterr().err
    assert for_task_of("cifar11", claims) == claims  # then the name is refused, with the reason
