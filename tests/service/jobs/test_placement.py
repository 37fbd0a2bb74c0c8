from __future__ import annotations

from typing import Any

import pytest

from normlab.records import WorkerRecord
from service.jobs.placement import Traits, place
from tests.service.work import spec

GIB = 2**30


def _worker(device: str, memory: int | None = None, able: bool = True) -> WorkerRecord:
    return WorkerRecord(
        id=device,
        device=device,
        hostname="h",
        slots=1,
        busy=0,
        description="",
        memory_bytes=memory,
        versions={},
        able=able,
        why="it was not found",
        last_seen_s=0,
    )


ALL = [_worker("cpu"), _worker("cuda", 8 * GIB), _worker("ipu")]
SMALL: dict[str, Any] = {"batch_size": 2, "normalizer": "group"}
BIG: dict[str, Any] = {"batch_size": 32, "normalizer": "group"}
PAIR: dict[str, Any] = {"normalizer": "group", "replicas": 2, "hosts": 2}
ELSEWHERE = _worker("cuda").model_copy(update={"address": "10.0.0.2"})
TWO_GPUS = [_worker("cpu"), _worker("cuda", 8 * GIB).model_copy(update={"slots": 2})]
EMULATOR = _worker("ipu", able=False)
UNRUNNABLE = Traits(ipu_problem="operator x::y is not supported")

CASES = [
    ("a small batch with an ipu", SMALL, ALL, Traits(), "ipu", "batch_size 2 is small"),
    ("the limit itself", {**SMALL, "batch_size": 16}, ALL, Traits(), "ipu", "up to 16"),
    ("a big batch", BIG, ALL, Traits(), "cuda", "batch_size 32 is above 16"),
    ("a small batch without an ipu", SMALL, ALL[:2], Traits(), "cuda", "no worker for ipu"),
    ("an unsupported operator", SMALL, ALL, UNRUNNABLE, "cuda", "operator x::y"),
    ("online", {**SMALL, "normalizer": "online"}, ALL, Traits(), "cuda", "'online' cannot run"),
    ("half precision", {**SMALL, "precision": "bfloat16"}, ALL, Traits(), "cuda", "not for ipu"),
    ("three replicas", {**SMALL, "replicas": 3}, ALL, Traits(), "cpu", "a power of two"),
    ("two replicas", {**SMALL, "replicas": 2}, ALL, Traits(), "ipu", "is small"),
    ("cuda options", {**SMALL, "acceleration": "compile"}, ALL, Traits(), "cuda", "is for cuda"),
    ("cpu loops", {**BIG, "acceleration": "kernels"}, ALL, Traits(), "cpu", "is for cpu"),
    ("it fits", BIG, ALL, Traits(memory_bytes=8 * GIB), "cuda", "a CUDA device is live"),
    ("it does not", BIG, ALL, Traits(memory_bytes=9 * GIB), "cpu", "9.0 GiB"),
    (
        "a part",
        {**BIG, "replicas": 2},
        TWO_GPUS,
        Traits(9 * GIB),
        "cuda",
        "a CUDA device is live",
    ),
    (
        "a replica",
        {**BIG, "replicas": 2, "sharding": "off"},
        TWO_GPUS,
        Traits(9 * GIB),
        "cpu",
        "9.0 GiB",
    ),
    ("only a cpu", BIG, ALL[:1], Traits(), "cpu", "no worker for cuda is live"),
    ("no worker", BIG, [], Traits(), "cpu", "no worker for cuda is live"),
    ("an unknown memory", BIG, [_worker("cuda")], Traits(memory_bytes=GIB), "cuda", "is live"),
    ("too many replicas", {**BIG, "replicas": 2}, ALL, Traits(), "cpu", "more than 1"),
    ("too few hosts", {**BIG, **PAIR}, ALL, Traits(), "cpu", "2 hosts, and live workers for"),
    ("a GPU on each host", {**BIG, **PAIR}, [*ALL, ELSEWHERE], Traits(), "cuda", "is live"),
    (
        "requested with too few hosts",
        {**PAIR, "device": "cpu"},
        ALL,
        Traits(),
        "cpu",
        "it waits",
    ),
    (
        "requested with too many replicas",
        {**BIG, "replicas": 2, "device": "cuda"},
        ALL,
        Traits(),
        "cuda",
        "so it waits",
    ),
    ("an emulated ipu", SMALL, [*ALL[:2], EMULATOR], Traits(), "cuda", "it was not found"),
    ("one of two", SMALL, [EMULATOR, ALL[2]], Traits(), "ipu", "one is live"),
    ("no gpu", BIG, [_worker("cuda", able=False)], Traits(), "cpu", "it was not found"),
    (
        "requested without a device",
        {**SMALL, "device": "ipu"},
        [EMULATOR],
        Traits(),
        "ipu",
        "though no live worker for ipu has one: it was not found",
    ),
    (
        "requested as emulation",
        {**SMALL, "device": "ipu", "ipu_runtime": "emulated"},
        [EMULATOR],
        Traits(),
        "ipu",
        "the job asks for it",
    ),
    ("requested", {**BIG, "device": "ipu"}, ALL, Traits(), "ipu", "the job asks for it"),
    ("half on a cpu", {**BIG, "precision": "float16"}, ALL[:1], Traits(), "cuda", "so it waits"),
    ("a graph on a cpu", {**BIG, "acceleration": "cuda_graphs"}, [], Traits(), "cuda", "waits"),
    (
        "requested without a worker",
        {**BIG, "device": "ipu"},
        [],
        Traits(),
        "ipu",
        "so it waits for one",
    ),
]


@pytest.mark.parametrize(
    ("job", "workers", "traits", "device", "reason"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_the_device_is_chosen_for_a_stated_reason(
    job: dict[str, Any],
    workers: list[WorkerRecord],
    traits: Traits,
    device: str,
    reason: str,
) -> None:
    found = place(spec(**job), workers, traits)
    assert found.device == device
    assert reason in found.reason


def test_the_limit_of_a_small_batch_is_a_setting() -> None:
    assert place(spec(**BIG), ALL, small_batch_limit=32).device == "ipu"
