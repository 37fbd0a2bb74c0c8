"""Means over several hosts have the bits of means on one."""

from __future__ import annotations

from pathlib import Path
from typing import List

import psutil
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from accelerators.meeting import LOOPBACK, Meeting, interface_of, opened
from accelerators.replica_group import joined
from accelerators.shared_mean import mean_in_order
from normlab.errors import DeviceUnavailable

_HOSTS = 3
_LENGTHS = (1, 2, 3, 1001)  # some do not divide by the hosts


def _vector(rank: int, length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(rank)) * 10**rank


def _average(rank: int, endpoint: str, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = Meeting("a-run", _HOSTS, rank, "127.0.0.1", endpoint)
    with joined("cpu", rank, _HOSTS, Path(folder), meeting) as group:
        assert (group.local_rank, group.local_count, group.hosts) == (0, 1, _HOSTS)
        found = [group._mean(_vector(rank, length)) for length in _LENGTHS]
        state = group.share({"from": rank})
    assert state == {"from": 0}
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.mark.timeout(600)
def test_every_host_gets_the_mean_that_one_host_sums_in_order(tmp_path: Path) -> None:
    with opened("127.0.0.1") as endpoint:
        mp.spawn(_average, (endpoint, str(tmp_path)), nprocs=_HOSTS)
    rows = [torch.stack([_vector(r, length) for r in range(_HOSTS)]) for length in _LENGTHS]
    for rank in range(_HOSTS):
        found: List[Tensor] = torch.load(tmp_path / f"{rank}.pt")
        for mean, of in zip(found, rows):
            assert torch.equal(mean, mean_in_order(of))


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_the_mean_of_a_part_has_the_bits_of_the_whole(rows: int) -> None:
    whole = torch.stack([_vector(row, 1000) for row in range(rows)])
    parts = [mean_in_order(whole[:, i : i + 7]) for i in range(0, 1000, 7)]
    assert torch.equal(torch.cat(parts), mean_in_order(whole))
    torch.testing.assert_close(mean_in_order(whole), whole.mean(0))


def test_the_interface_of_an_address_is_found_or_the_address_is_named() -> None:
    if any(known.address == "127.0.0.1" for known in psutil.net_if_addrs().get(LOOPBACK, [])):
        assert interface_of("127.0.0.1") == LOOPBACK
    with pytest.raises(DeviceUnavailable, match=r"192\.0\.2\.7.*NORMLAB_ADDRESS"):
        interface_of("192.0.2.7")
