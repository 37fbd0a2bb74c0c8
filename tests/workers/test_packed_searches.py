"""Trials of a search that train as one pack: a pruned trial leaves, and the others continue."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from normlab.events import Finished, Metrics, Series
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases
from service.jobs.leases import Lease
from service.results import reports
from service.store.database import Database
from service.studies import details, studies
from service.studies.searches import Searcher
from tests.workers.test_packs import PackBench
from workers.pack_supervisor import work_on
from workers.warm_launcher import WarmLauncher

from .conftest import LONG

BAD, GOOD, ENDED = 1e-7, (0.05, 0.1), (0.2, 0.3, 0.4, 0.5)
STEPS = 1000  # each of those that have ended had an accuracy


def place(_: object) -> tuple[str, str]:
    return "cpu", "it is asked for"


@pytest.fixture
def bench(database: Database, tmp_path: Path, warm: WarmLauncher) -> PackBench:
    return PackBench(database, tmp_path, warm)


def search(bench: PackBench, searcher: Searcher) -> str:
    """Propose a trial for each rate."""
    space = {"optimizer.lr": {"choices": [BAD, *GOOD, *ENDED]}}
    asked = {"sampler": "random", "pruner": "median", "trials": 7, "parallel": 7, "space": space}
    study = StudySpec.model_validate({"name": "s", "base": LONG, "search": asked, "pack": 3})
    made, _ = studies.create(bench.database, study, owner="me", place=place, check=lambda _: [])
    while details.get(bench.database, made.id).cells < 7:
        searcher.round()
    return made.id


def end(bench: PackBench, claim: Lease) -> None:
    """Let a trial have had an accuracy that the others reach, and not without learning."""
    steps, value = list(range(1, STEPS + 1)), 0.13
    series = Series(steps=steps, values=[value] * STEPS, times=[time.time()] * STEPS)
    reports.keep_all(bench.database, claim, [Metrics(series={"val/accuracy": series})])
    leases.finish(bench.database, claim, Finished(step=STEPS, summary={}))


def test_a_pruned_trial_leaves_its_pack_and_the_others_go_on(bench: PackBench) -> None:
    searcher = Searcher(bench.database, lambda: place, lambda _: [])
    study = search(bench, searcher)
    claims = {}
    for _ in range(7):
        claim = leases.claim(bench.database, "cpu", "another", 60)
        assert claim is not None
        claims[claim.spec.optimizer.lr] = claim
    for rate in ENDED:
        end(bench, claims[rate])
    for rate in (BAD, *GOOD):
        assert leases.release(bench.database, claims[rate])
    bad, *good = (str(claims[rate].job) for rate in (BAD, *GOOD))

    pack = bench.claim()
    assert len(pack.mates) == 2
    thread = threading.Thread(target=work_on, args=(bench.supervisor, pack), daemon=True)
    thread.start()
    bench.until(bad, lambda record: searcher.round() > 0 or record.state == "cancelled")
    bench.until(bad, lambda record: record.state == "cancelled")
    steps = [bench.job(job).step for job in good]
    for job, step in zip(good, steps):
        bench.until(job, lambda record, step=step: record.step > step)
        changes.cancel(bench.database, job)
    thread.join(240)
    assert details.get(bench.database, study).counts == {
        "succeeded": 4,
        "pruned": 1,
        "cancelled": 2,
    }
    assert bench.nothing_is_left()
