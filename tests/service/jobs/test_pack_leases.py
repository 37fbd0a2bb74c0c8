"""A worker claims the cells of a study together if they can be one pack."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from normlab.events import Failed
from normlab.records.limits import LimitRequest
from normlab.specs.costs import least_memory_bytes
from normlab.specs.studies import StudySpec
from service.jobs import allowances, leases, workers
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.store.audit import Actor
from service.store.database import Database
from service.studies import studies

SEEDS: dict[str, Any] = {
    "base": {"normalizer": "batch", "batch_size": 2, "dataset": "digits"},
    "seeds": 6,
}


def queue(database: Database, **fields: Any) -> None:
    asked = {"name": "s", "pack": 4, **SEEDS, **fields}
    asked["base"] = {**asked["base"], "dataset": {"name": "digits"}}
    spec = StudySpec.model_validate(asked)
    place = ("cpu", "the only device of this test")
    studies.create(database, spec, owner="ada", place=lambda _: place, check=lambda _: [])


def claim(database: Database) -> list[Lease]:
    found = leases.claim(database, "cpu", "w", 30)
    if found is None:
        return []
    found = with_mates(database, found, 30)
    return [found, *found.mates]


def seeds(claims: list[Lease]) -> list[int]:
    return sorted(claim.spec.seed for claim in claims)


def test_a_claim_takes_as_many_mates_as_asked_for_and_the_next_the_rest(database: Database) -> None:
    queue(database)
    first, second, third = claim(database), claim(database), claim(database)
    assert (len(first), len(second), third) == (4, 2, [])
    assert seeds([*first, *second]) == list(range(6))
    assert {one.attempt for one in first} == {1}
    assert all(leases.renew(database, one, 30) for one in first)


def test_a_claim_of_auto_takes_what_gains(database: Database) -> None:
    queue(database, pack="auto", axes=[{"batch_size": [2, 1024]}], seeds=3)
    sizes = sorted(len(claim(database)) for _ in range(4))
    assert sizes == [1, 1, 1, 3]  # at batch 1024, operators have enough to do


def test_cells_with_momenta_of_their_own_are_one_pack(database: Database) -> None:
    queue(database, pack="auto", axes=[{"normalizer.momentum": [0.1, 0.2]}], seeds=2)
    assert len(claim(database)) == 4


VIRTUAL = {"normalizer": [{"kind": "batch"}, {"kind": "batch", "virtual_batch_size": 2}]}


def virtual(claims: list[Lease]) -> list[int | None]:
    return [getattr(claim.spec.normalizer, "virtual_batch_size", None) for claim in claims]


def test_cells_with_other_numbers_of_a_normalizer_join_where_that_gains(
    database: Database,
) -> None:
    base = {**SEEDS["base"], "batch_size": 4}
    queue(database, pack="auto", base=base, axes=[VIRTUAL], seeds=4)
    assert virtual(claim(database)) == [None] * 4 + [2] * 4  # those of one layer side by side


def test_cells_with_the_same_numbers_join_first(database: Database) -> None:
    queue(database, pack=4, base={**SEEDS["base"], "batch_size": 4}, axes=[VIRTUAL], seeds=4)
    assert [virtual(claim(database)) for _ in range(2)] == [[None] * 4, [2] * 4]


def test_cells_with_other_numbers_are_left_apart_where_mixing_them_gains_nothing(
    database: Database,
) -> None:
    base = {**SEEDS["base"], "batch_size": 32}
    queue(database, pack="auto", base=base, axes=[VIRTUAL], seeds=4)
    assert [virtual(claim(database)) for _ in range(2)] == [[None] * 4, [2] * 4]


def test_without_pack_each_cell_is_claimed_alone(database: Database) -> None:
    queue(database, pack="off")
    assert len(claim(database)) == 1


def test_cells_of_other_shapes_or_kinds_are_left_to_other_packs(database: Database) -> None:
    queue(
        database, axes=[{"normalizer": ["batch", "layer"]}, {"optimizer.lr": [0.1, 0.2]}], seeds=1
    )
    packs = [claim(database), claim(database)]
    kinds = [{one.spec.normalizer.kind for one in pack} for pack in packs]
    assert sorted(map(tuple, kinds)) == [("batch",), ("layer",)]
    assert [len({one.spec.optimizer.lr for one in pack}) for pack in packs] == [2, 2]


def test_jobs_of_different_studies_are_not_mixed(database: Database) -> None:
    queue(database, seeds=[0], pack="auto")
    queue(database, name="another", seeds=[1], pack="auto")
    assert [len(claim(database)), len(claim(database))] == [1, 1]


def test_a_job_that_failed_in_a_pack_runs_alone_afterwards(database: Database) -> None:
    queue(database, seeds=3)
    lost = Failed(code="x", failure_kind="lost", retryable=True, message="lost")
    for one in claim(database):
        assert leases.fail(database, one, lost)
    assert [len(claim(database)) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("limit", "sizes"), [(2, [2, 1]), (1, [1, 1, 1])])
def test_a_pack_that_failed_comes_back_in_smaller_ones(
    database: Database, limit: int, sizes: list[int]
) -> None:
    queue(database, seeds=3)
    before = claim(database)
    assert all(leases.release(database, one, "its pack failed", limit) for one in before)
    again = [claim(database) for _ in sizes]
    assert [len(claims) for claims in again] == sizes
    used = text("select distinct attempt - forgiven from job")
    with database.begin() as connection:
        assert list(connection.execute(used).scalars()) == [1]


def test_a_pack_is_as_large_as_the_memory_of_a_process_allows(database: Database) -> None:
    queue(database)
    found = leases.claim(database, "cpu", "w", 30)
    assert found is not None
    room = 2 * least_memory_bytes(found.spec)
    assert len(with_mates(database, found, 30, room).mates) == 1


def test_a_claim_of_auto_leaves_nothing_to_slots_that_train_already(database: Database) -> None:
    host: dict[str, Any] = {"hostname": "h", "description": "", "memory_bytes": None}
    workers.beat(database, worker="w", device="cpu", slots=2, busy=0, versions={}, **host)
    queue(database, seeds=16, pack="auto", name="first")
    assert len(claim(database)) == 8  # the other eight for the other slot
    assert len(claim(database)) == 8
    queue(database, seeds=[17, 18, 19, 20], pack="auto", name="second")
    assert len(claim(database)) == 4


def test_a_claim_of_auto_makes_no_pack_of_two_that_gains_nothing(database: Database) -> None:
    host: dict[str, Any] = {"hostname": "h", "description": "", "memory_bytes": None}
    workers.beat(database, worker="w", device="cpu", slots=2, busy=0, versions={}, **host)
    queue(database, seeds=4, pack="auto")
    assert len(claim(database)) == 1


@pytest.mark.parametrize(("slots", "size"), [(1, 16), (2, 8), (4, 4)])
def test_a_claim_of_auto_leaves_cells_to_the_other_slots(
    database: Database, slots: int, size: int
) -> None:
    host: dict[str, Any] = {"hostname": "h", "description": "", "memory_bytes": None}
    workers.beat(database, worker="w", device="cpu", slots=slots, busy=0, versions={}, **host)
    queue(database, seeds=16, pack="auto")
    assert len(claim(database)) == size


def test_a_claim_of_auto_takes_all_where_others_keep_the_slots_busy(database: Database) -> None:
    host: dict[str, Any] = {"hostname": "h", "description": "", "memory_bytes": None}
    workers.beat(database, worker="w", device="cpu", slots=4, busy=0, versions={}, **host)
    queue(database, seeds=16, axes=[{"normalizer": ["batch", "group"]}], pack="auto")
    assert len(claim(database)) == 16


@pytest.mark.parametrize(
    "fields",
    [
        {"axes": [{"normalizer.eps": [1e-5, 1e-3]}], "seeds": 1},
        {"base": {**SEEDS["base"], "time_limit_s": 60.0}},
        {
            "axes": [{"optimizer.lr": [0.1, 0.2]}],
            "decide": {"metric": "train/images_per_s", "by": 10.0},
        },
    ],
)
def test_auto_packs_nothing_whose_gain_or_time_is_not_known(
    database: Database, fields: dict[str, Any]
) -> None:
    queue(database, pack="auto", **fields)
    assert len(claim(database)) == 1


def test_a_pack_has_no_more_members_than_a_limit_lets_run(database: Database) -> None:
    asked = LimitRequest(subject="owner", name="ada", running=3)
    allowances.put(database, asked, Actor("root"))
    queue(database)
    assert len(claim(database)) == 3
    assert claim(database) == []
