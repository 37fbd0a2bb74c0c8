"""Claims of packs on GPUs and emulated IPUs: by memory, and by what packs have gained there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from normlab.events import Finished, Started
from normlab.specs.costs import least_memory_bytes
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import leases, pack_measures
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.results import reports
from service.store.database import Database
from service.studies import studies

BASE: dict[str, Any] = {"normalizer": "batch", "batch_size": 2, "dataset": {"name": "digits"}}
EMULATED: dict[str, Any] = {"device": "ipu", "ipu_runtime": "emulated"}


def queue(database: Database, device: str = "cuda", **fields: Any) -> None:
    base = {**BASE, "device": device, **fields.pop("base", {})}
    spec = StudySpec.model_validate({"name": "s", "seeds": 20, "base": base, **fields})
    place = (device, "it is asked for")
    studies.create(database, spec, owner="ada", place=lambda _: place, check=lambda _: [])


def claim(database: Database, device: str = "cuda", memory_bytes: int | None = None) -> list[Lease]:
    found = leases.claim(database, device, "w", 30)
    if found is None:
        return []
    found = with_mates(database, found, 30, memory_bytes)
    return [found, *found.mates]


def measured(database: Database, gain: float, members: int = 2, **fields: Any) -> None:
    """Let a study of so many cells be trained as a pack that measures its *gain*."""
    queue(database, name="measured", pack=members, seeds=[*range(100, 100 + members)], **fields)
    pack = claim(database)
    assert len(pack) == members
    environment = {"device": "cuda", "runtime": "packed", "packed": members, "pack_gain": gain}
    for one in pack:
        with database.begin() as connection:
            reports.keep(connection, one, Started(step=0, environment=environment))
        assert leases.finish(database, one, Finished(step=10, summary={}))


def test_the_first_pack_on_a_gpu_is_as_large_as_its_memory_allows(database: Database) -> None:
    queue(database)
    (head,) = [leases.claim(database, "cuda", "w", 30)]
    assert head is not None
    room = 3 * least_memory_bytes(head.spec)
    assert len(with_mates(database, head, 30, room).mates) == 2
    assert len(claim(database)) == 16


def test_auto_mixes_no_numbers_of_a_normalizer_on_a_gpu(database: Database) -> None:
    queue(database, axes=[{"normalizer.eps": [1e-5, 1e-3]}], seeds=3)
    assert [len(claim(database)) for _ in range(2)] == [3, 3]  # the gain is measured for one layer


@pytest.mark.parametrize(("gain", "by", "members"), [(1.9, 2, 4), (1.1, 16, 1)])
def test_auto_follows_the_gain_that_a_gpu_measured(
    database: Database, gain: float, by: int, members: int
) -> None:
    measured(database, gain, by)
    queue(database, seeds=9)
    assert len(claim(database)) == members


def test_a_few_members_that_gained_little_say_nothing_about_many(database: Database) -> None:
    measured(database, 1.1)
    queue(database, seeds=20)
    assert len(claim(database)) == 16


def test_a_pack_that_cannot_be_read_any_more_stops_no_claim(database: Database) -> None:
    measured(database, 1.9)
    with database.begin() as connection:
        unreadable = """jsonb_set(spec, '{epochs}', '"many"')"""
        connection.execute(text(f"update job set spec = {unreadable} where state = 'succeeded'"))
    queue(database, seeds=20)
    assert len(claim(database)) == 16


def test_a_gain_is_that_of_its_shape_and_acceleration(database: Database) -> None:
    measured(database, 1.0)
    queue(database, seeds=9, base={"acceleration": "cuda_graphs"})
    assert len(claim(database)) == 9


@pytest.mark.parametrize("optimizer", [{"name": "adamw"}, {"clip_norm": 1.0}])
def test_a_gain_is_that_of_its_optimizer(database: Database, optimizer: dict[str, Any]) -> None:
    measured(database, 1.0, 16)
    queue(database, seeds=9, base={"optimizer": optimizer})
    assert len(claim(database)) == 9
    queue(database, seeds=9, name="as measured", base={"optimizer": {"lr": 0.01}})
    assert len(claim(database)) == 1


def test_the_newest_packs_tell_a_gain(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_measures, "_NEWEST", 1)
    measured(database, 1.9, 4, base={"epochs": 2})
    measured(database, 1.0, 16)
    queue(database, seeds=9)
    assert len(claim(database)) == 1


def test_a_number_of_members_is_taken_whatever_was_measured(database: Database) -> None:
    measured(database, 1.0)
    queue(database, pack=5)
    assert len(claim(database)) == 5


def test_auto_packs_no_more_cells_of_a_study_whose_pack_fell_apart_on_a_gpu(
    database: Database,
) -> None:
    queue(database)
    for one in claim(database):
        assert leases.release(database, one, "its pack fell apart", 1)
    assert [len(claim(database)) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("axis", "is_other"),
    [
        ({"model.width": [16, 8]}, lambda spec: spec.model.width == 8),
        ({"optimizer.name": ["adamw", "sgd"]}, lambda spec: spec.optimizer.name == "sgd"),
    ],
)
def test_other_cells_are_packed_after_a_pack_fell_apart(
    database: Database, axis: dict[str, list[Any]], is_other: Callable[[JobSpec], bool]
) -> None:
    queue(database, axes=[axis])
    for one in claim(database):
        assert leases.release(database, one, "its pack fell apart", 1)
    later = [claim(database) for _ in range(21)]
    packs = [pack for pack in later if len(pack) > 1]
    assert packs
    assert all(is_other(one.spec) for pack in packs for one in pack)


@pytest.mark.parametrize(
    "base",
    [
        {"acceleration": "compile"},
        {"acceleration": "triton"},
        {"precision": "float16"},
        {"replicas": 2},
    ],
)
def test_what_has_no_packed_form_on_a_gpu_is_claimed_alone(
    database: Database, base: dict[str, Any]
) -> None:
    queue(database, base=base)
    assert len(claim(database)) == 1


def test_cells_for_the_emulation_are_claimed_together(database: Database) -> None:
    queue(database, "ipu", base=EMULATED, seeds=16)
    assert len(claim(database, "ipu")) == 16


@pytest.mark.parametrize(
    "base",
    [{"ipu_runtime": "hardware"}, {**EMULATED, "optimizer": {"clip_norm": 1.0}}],
)
def test_what_a_pack_on_an_ipu_cannot_be_is_claimed_alone(
    database: Database, base: dict[str, Any]
) -> None:
    queue(database, "ipu", base=base)
    assert len(claim(database, "ipu")) == 1
