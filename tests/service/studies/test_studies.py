"""A grid is always completed and never run twice."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import pytest

from normlab.errors import Conflict, FieldProblem, InvalidSpec, NotFound
from normlab.events import Failed, Finished
from normlab.records import StudyRecord
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases, listing, reading
from service.store.database import Database
from service.studies import changes as study_changes, details, studies
from service.studies.listing import list_studies

GRID = {"normalizer": ["batch", "layer", "instance"], "batch_size": [32, 8, 2]}


def place(spec: JobSpec) -> tuple[str, str]:
    return "cpu", "the only device of this test"


def study(database: Database, owner: str = "ada", **fields: Any) -> StudyRecord:
    spec = StudySpec.model_validate({"name": "small", "axes": GRID, "seeds": 3, **fields})
    return studies.create(database, spec, owner=owner, place=place, check=lambda _: [])[0]


def work(database: Database, n: int, *, fail: bool = False) -> list[UUID]:
    done = []
    for _ in range(n):
        claim = leases.claim(database, "cpu", "w", 30)
        assert claim is not None
        if fail:
            broken = Failed(code="x", failure_kind="user", retryable=False, message="broken")
            assert leases.fail(database, claim, broken)
        else:
            assert leases.finish(database, claim, Finished(step=1, summary={}))
        done.append(claim.job)
    return done


def test_a_study_queues_each_cell_once(database: Database) -> None:
    record = study(database)
    assert (record.cells, record.counts, record.state) == (27, {"queued": 27}, "active")
    assert len(set(work(database, 27))) == 27
    assert leases.claim(database, "cpu", "w", 30) is None
    assert details.get(database, record.id).state == "complete"


def test_the_longest_cells_of_a_study_start_first(database: Database) -> None:
    study(database)
    started = []
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        started.append(claim.spec.batch_size)
    assert started == sorted(started)  # with smaller batches, an epoch has more updates
    assert len(set(started)) == 3


def test_the_same_file_is_the_same_study(database: Database) -> None:
    first, again = study(database), study(database, priority=3)
    assert first.id == again.id
    assert again.counts == {"queued": 27}
    assert study(database, owner="bob").id != first.id


def test_complete_runs_only_unfinished_cells(database: Database) -> None:
    record = study(database)
    succeeded = work(database, 10)
    failed = work(database, 5, fail=True)
    changes.cancel(database, str(_queued(database, record.id)[0]))
    after = studies.complete(database, record.id, place=place)
    assert after.counts == {"succeeded": 10, "queued": 17}
    rest = work(database, 17)
    assert set(failed) < set(rest)
    assert not set(succeeded) & set(rest)
    assert details.get(database, record.id).counts == {"succeeded": 27}


def test_complete_of_a_complete_study_changes_nothing(database: Database) -> None:
    record = study(database)
    work(database, 27)
    before = details.get(database, record.id)
    studies.complete(database, record.id, place=place)
    assert details.get(database, record.id) == before


def test_a_longer_axis_adds_just_the_new_cells(database: Database) -> None:
    record = study(database)
    work(database, 27)
    axes = {**GRID, "batch_size": [32, 8, 2, 1]}
    spec = StudySpec.model_validate({"name": "small", "axes": axes, "seeds": 3})
    grown = studies.extend(database, record.id, spec, owner="ada", place=place, check=lambda _: [])
    assert grown.counts == {"succeeded": 27, "queued": 9}


@pytest.mark.parametrize(
    ("change", "queued"),
    [
        ({"seeds": 1}, 0),
        ({"seeds": [2, 0]}, 0),
        ({"seeds": 4}, 9),
        ({"name": "of another name"}, 0),
        ({"axes": {"batch_size": [8, 32], "normalizer": ["layer", "batch"]}}, 0),
        ({"axes": {"normalizer": [{"kind": "batch"}, "group"], "batch_size": [2]}}, 3),
        ({"base": {"max_attempts": 9, "time_limit_s": 60, "name": "x"}, "priority": 3}, 0),
        ({"exclude": [{"normalizer": "batch"}]}, 0),
        ({"base": {"epochs": 7}}, 27),
    ],
)
def test_a_changed_study_queues_only_what_no_job_has_computed(
    database: Database, change: dict[str, Any], queued: int
) -> None:
    first = study(database)
    done = set(work(database, 27))
    changed = study(database, **change)
    assert changed.id != first.id
    assert changed.counts.get("queued", 0) == queued
    assert changed.reused == changed.cells - queued
    assert not set(work(database, queued)) & done
    assert leases.claim(database, "cpu", "w", 30) is None


def test_cells_are_computed_again_when_a_new_study_asks_for_it(database: Database) -> None:
    study(database, axes={"normalizer": ["batch"]})
    work(database, 3)
    again = study(database, axes={"normalizer": ["batch"]}, name="again", reuse=False)
    assert (again.counts, again.reused) == ({"queued": 3}, 0)


def test_reuse_is_not_part_of_the_identity_of_a_study(database: Database) -> None:
    assert study(database).id == study(database, reuse=False).id


def test_nobody_reuses_another_owners_cells(database: Database) -> None:
    study(database, axes={"normalizer": ["batch"]})
    work(database, 3)
    assert study(database, owner="bob", axes={"normalizer": ["batch"]}).reused == 0


def test_a_paused_study_waits_and_says_so(database: Database) -> None:
    record = study(database)
    work(database, 1)
    studies.pause(database, record.id)
    assert leases.claim(database, "cpu", "w", 30) is None
    waiting = reading.get(database, str(_queued(database, record.id)[0])).waiting_for
    assert waiting is not None
    assert "paused" in waiting
    studies.resume(database, record.id)
    assert leases.claim(database, "cpu", "w", 30) is not None
    with pytest.raises(Conflict, match="is active"):
        studies.resume(database, record.id)


def test_a_cancelled_study_can_be_completed_later(database: Database) -> None:
    record = study(database)
    work(database, 2)
    cancelled = studies.cancel(database, record.id)
    assert (cancelled.state, cancelled.counts) == ("cancelled", {"succeeded": 2, "cancelled": 25})
    assert leases.claim(database, "cpu", "w", 30) is None
    assert studies.complete(database, record.id, place=place).counts == {
        "succeeded": 2,
        "queued": 25,
    }


def test_priority_moves_the_queued_jobs(database: Database) -> None:
    late = study(database, axes={"normalizer": ["group"]})
    study(database)
    study_changes.set_priority(database, late.id, 5)
    claim = leases.claim(database, "cpu", "w", 30)
    assert claim is not None
    assert claim.spec.normalizer.model_dump()["kind"] == "group"


def test_one_wrong_cell_refuses_the_whole_study(database: Database) -> None:
    def check(spec: JobSpec) -> list[FieldProblem]:
        return [FieldProblem("batch_size", "at least 8")] if spec.batch_size < 8 else []

    spec = StudySpec.model_validate({"name": "small", "axes": GRID})
    with pytest.raises(InvalidSpec, match="batch_size = 2 cannot run"):
        studies.create(database, spec, owner="ada", place=place, check=check)
    assert list_studies(database).studies == []
    assert listing.list_jobs(database).jobs == []


def test_an_unknown_study_is_not_found(database: Database) -> None:
    complete = partial(studies.complete, place=place)
    for verb in (details.get, complete, studies.pause, studies.cancel):
        with pytest.raises(NotFound, match="the list of studies"):
            verb(database, "nope")


def test_the_pages_of_studies_go_back_in_time(database: Database) -> None:
    made = [study(database, axes={"normalizer": ["batch"]}, name=n).id for n in "abc"]
    first = list_studies(database, limit=2)
    second = list_studies(database, first.next_cursor, limit=2)
    assert sorted(s.id for p in (first, second) for s in p.studies) == sorted(made)
    assert second.next_cursor is None


def test_a_list_of_studies_can_be_limited_to_a_name_and_to_an_owner(database: Database) -> None:
    ours, other = study(database), study(database, seeds=1, name="large")
    theirs = study(database, owner="bob")

    def found(**wanted: str) -> set[str]:
        return {s.id for s in list_studies(database, **wanted).studies}

    assert found(name="small") == {ours.id, theirs.id}
    assert found(owner="ada") == {ours.id, other.id}
    assert found(name="small", owner="ada") == {ours.id}
    assert found(name="smal") == found(name="SMALL") == set()


def test_one_owners_large_study_does_not_starve_another_owners_job(database: Database) -> None:
    study(database)
    study(database, owner="bob", axes={"normalizer": ["group"]}, seeds=1)
    kinds = [reading.get(database, str(j)).owner for j in work(database, 4)]
    assert "bob" in kinds[:2]


def _queued(database: Database, study: str) -> list[UUID]:
    return [UUID(c.job) for c in details.get(database, study).grid if c.state == "queued" and c.job]


def test_a_study_cannot_grow_into_another(database: Database) -> None:
    small, large = study(database), study(database, seeds=4)
    spec = StudySpec.model_validate({"name": "small", "axes": GRID, "seeds": 4})
    with pytest.raises(Conflict, match=large.id):
        studies.extend(database, small.id, spec, owner="ada", place=place, check=lambda _: [])
