"""Replicas hold whole models where these fit, and parts where they do not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from accelerators import sharding_choice
from accelerators.sharding_choice import ShardingChoice, choose
from normlab.errors import DeviceUnavailable, InvalidSpec
from normlab.specs import sharding
from tests.normlab.training.recording import small_job

needs_engine = pytest.mark.skipif(
    not sharding.has_engine(torch.__version__),
    reason=f"torch {torch.__version__} has no fully_shard",
)
GIB = 2**30


class Two:
    """Two replicas on one host, of which this is the first."""

    rank, local_count = 0, 2

    def smallest(self, value: int) -> int:
        return value

    def share(self, value: Any) -> Any:
        return value


def chosen(
    memory_bytes: int, before: bool | None = None, device: str = "cpu", **job: Any
) -> ShardingChoice:
    two: Any = Two()
    return choose(small_job(replicas=2, **job), two, device, memory_bytes, before)


@needs_engine
def test_memory_decides_and_the_reason_has_both_sizes() -> None:
    needs = r"a replica needs about \d+\.\d\d GiB"  # what this process holds now is part of it
    assert re.fullmatch(f"off: {needs}, and has 32.00 GiB", chosen(64 * GIB).told)
    full = chosen(GIB // 4)
    assert full.full
    assert re.fullmatch(f"full: {needs}, and has 0.12 GiB", full.told)


@needs_engine
def test_a_gpu_belongs_to_one_replica() -> None:
    assert chosen(64 * GIB, device="cuda").told.endswith("and has 64.00 GiB")


@needs_engine
@pytest.mark.parametrize("before", [True, False])
def test_an_attempt_that_resumes_goes_on_as_it_was(before: bool) -> None:
    found = chosen(GIB // 4 if not before else 64 * GIB, before)
    assert found.full == before
    assert "as in the attempt that it resumes" in found.told


@needs_engine
def test_the_job_decides_if_it_wants_to() -> None:
    assert chosen(64 * GIB, sharding="full") == (True, "full, as asked")
    assert chosen(GIB // 4, sharding="off") == (False, "off, as asked")


@needs_engine
def test_what_cannot_be_sharded_stays_whole_and_says_why() -> None:
    found = chosen(GIB // 4, normalizer="streaming")
    assert not found.full
    assert "'streaming' cannot be sharded: it notices an update" in found.told
    with pytest.raises(InvalidSpec, match="streaming"):
        chosen(GIB // 4, normalizer="streaming", sharding="full")


def test_an_older_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding_choice.torch, "__version__", "2.0.1+cpu")
    assert "needs torch 2.6 or newer where the job runs" in chosen(GIB // 4).told
    with pytest.raises(DeviceUnavailable, match=r"there is 2\.0\.1"):
        chosen(GIB // 4, sharding="full")


@pytest.mark.parametrize(
    ("version", "has"), [("2.0.1+cpu", False), ("2.5.1", False), ("2.6.0", True), ("2.13.0", True)]
)
def test_releases_are_compared_by_numbers(version: str, has: bool) -> None:
    assert sharding.has_engine(version) == has
