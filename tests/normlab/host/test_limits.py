"""A process uses the limits of its container, or those of the host if there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normlab.host.limits import driver_gpus, usable_cores, usable_memory_bytes

HOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("6400000 100000", 8)],
)
def test_a_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8)])
def test_the_older_control_groups_are_read_too(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path) == cores


def test_without_a_quota_all_allowed_cores_count(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == 8


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_memory_limit_counts_if_it_is_less_than_the_hosts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("67108864\n")
    assert usable_memory_bytes(tmp_path) == 64 << 20
    (tmp_path / name).write_text("9223372036854771712\n")  # version 1 writes "none" like this
    assert usable_memory_bytes(tmp_path) == HOST_BYTES


def test_without_a_memory_limit_the_hosts_memory_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory_bytes(tmp_path) == HOST_BYTES


def test_gpus_are_counted_where_their_driver_is(tmp_path: Path) -> None:
    assert driver_gpus(tmp_path / "none") is None
    for bus in ("0000:00:06.0", "0000:00:07.0"):
        (tmp_path / bus).mkdir()
    assert driver_gpus(tmp_path) == 2
