from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from service.jobs.leases import Lease
from service.jobs.seats import Offer, Seat
from workers.gpus import GpuPool, gpu_names
from workers.process import own_environment

from .conftest import SHORT, make_order


def claim(replicas: int, job: UUID | None = None) -> Lease:
    spec = JobSpec.model_validate({"normalizer": "batch", "replicas": replicas})
    return Lease(
        job=job or uuid4(),
        attempt=1,
        worker="w",
        owner="me",
        device="cuda",
        spec=spec,
        resume=(),
        time_left_s=None,
    )


def test_each_job_has_its_own_gpu() -> None:
    pool = GpuPool(["0", "1"])
    jobs = [pool.claim(lambda room: claim(1)) for _ in range(2)]
    assert [pool.of(job) for job in jobs if job] == [["0"], ["1"]]


def test_a_job_takes_a_gpu_for_each_replica_and_leaves_the_rest() -> None:
    pool = GpuPool(["0", "1", "2"])
    rooms = []
    pair = pool.claim(lambda room: rooms.append(room) or claim(2))
    assert pair is not None
    assert pool.of(pair) == ["0", "1"]
    assert pool.claim(lambda room: rooms.append(room)) is None
    assert rooms == [3, 1]


def test_no_job_is_requested_while_no_gpu_is_free() -> None:
    pool = GpuPool(["0"])
    first = pool.claim(lambda room: claim(1))
    assert first is not None
    assert pool.claim(lambda room: pytest.fail("no GPU is free")) is None
    pool.give_back(first)
    second = pool.claim(lambda room: claim(room))
    assert second is not None
    assert pool.of(second) == ["0"]


def test_the_gpus_of_an_offer_wait_for_the_seat_that_its_slot_may_get() -> None:
    pool = GpuPool(["0", "1", "2"])
    offer = Offer(uuid4(), 2)
    assert pool.claim(lambda room: offer) == offer
    rooms = []
    assert pool.claim(lambda room: rooms.append(room)) is None  # another slot
    lease = claim(4)
    lease = replace(lease, spec=lease.spec.model_copy(update={"hosts": 2}))
    seat = Seat(offer.id, 1, lease)
    assert pool.claim(lambda room: rooms.append(room) or seat, offer.id) == seat
    assert rooms == [1, 3]
    assert pool.of(lease) == ["0", "1"]
    pool.give_back(lease)
    assert pool.claim(lambda room: offer) == offer
    assert pool.claim(lambda room: rooms.append(room), offer.id) is None  # no longer offered
    assert pool.claim(lambda room: rooms.append(room)) is None
    assert rooms == [1, 3, 3, 3]


def test_a_worker_passes_on_the_gpus_that_it_was_given() -> None:
    assert gpu_names(2, {}) == ["0", "1"]
    assert gpu_names(1, {"CUDA_VISIBLE_DEVICES": "3, 5"}) == ["3"]
    assert gpu_names(2, {"CUDA_VISIBLE_DEVICES": "GPU-ab,GPU-cd"}) == ["GPU-ab", "GPU-cd"]


@pytest.mark.parametrize("given", ["1", ""])
def test_a_slot_without_a_gpu_is_refused(given: str) -> None:
    with pytest.raises(InvalidSpec, match="--slots 1"):
        gpu_names(2, {"CUDA_VISIBLE_DEVICES": given})


def test_more_slots_than_the_host_has_gpus_are_refused() -> None:
    assert gpu_names(1, {}, there=2) == ["0"]
    assert gpu_names(2, {"CUDA_VISIBLE_DEVICES": "3,5"}, there=8) == ["3", "5"]
    with pytest.raises(InvalidSpec, match="2 slots take a GPU each, and this host has 1"):
        gpu_names(2, {}, there=1)


def test_a_job_process_sees_its_gpus_and_no_other(tmp_path: Path) -> None:
    seen = own_environment(make_order(tmp_path, SHORT, gpus=["2", "3"]))
    assert seen["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "CUDA_VISIBLE_DEVICES" not in own_environment(make_order(tmp_path, SHORT))


def test_a_job_that_is_claimed_anew_has_its_gpu_whatever_its_last_attempt_gives_back() -> None:
    pool = GpuPool(["0", "1"])
    first = pool.claim(lambda room: claim(1))
    assert first is not None
    again = pool.claim(lambda room: replace(first, attempt=2))
    assert again is not None
    pool.give_back(first)
    assert pool.of(again) == ["1"]
    other = pool.claim(lambda room: claim(1))
    assert other is not None
    assert pool.of(other) == ["0"]


def test_the_members_of_a_pack_have_the_same_gpu_until_the_last_of_them_has_ended() -> None:
    pool = GpuPool(["0"])
    mate = claim(1)
    head = pool.claim(lambda room: replace(claim(1), mates=(mate,)))
    assert head is not None
    assert pool.of(head) == pool.of(mate) == ["0"]
    pool.give_back(head)
    assert pool.claim(lambda room: pytest.fail("a member trains on")) is None
    pool.give_back(mate)
    assert pool.claim(claim) is not None
