"""Processes that average through shared memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from accelerators.replica_group import is_lost_peer
from accelerators.shared_mean import SharedMean, is_supported

COUNT = 3
LENGTHS = (4, 1000, 7, 1000, 2000)  # it grows, and shorter lengths follow longer ones
pytestmark = [
    pytest.mark.filterwarnings("ignore:TypedStorage"),  # torch 2.0 itself uses it
    pytest.mark.skipif(not is_supported(), reason="this system has no memfd"),
]


def _shared_mean(rank: int, folder: str) -> SharedMean:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/peers", rank=rank, world_size=COUNT
    )
    return SharedMean(rank, COUNT, Path(folder), dist.group.WORLD)


def vectors(rank: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(n, generator=generator) for n in LENGTHS for _ in range(20)]


def _average(rank: int, folder: str) -> None:
    shared = _shared_mean(rank, folder)
    torch.save([shared.mean(v) for v in vectors(rank)], f"{folder}/{rank}.pt")
    shared.close()


def test_all_replicas_get_the_same_bits_of_a_mean_of_any_length(tmp_path: Path) -> None:
    mp.spawn(_average, (str(tmp_path),), nprocs=COUNT)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(COUNT)]
    for given, means in zip(zip(*map(vectors, range(COUNT))), zip(*found)):
        torch.testing.assert_close(means[0], torch.stack(given).mean(0))
        assert all(torch.equal(mean, means[0]) for mean in means)


def _lose_one(rank: int, folder: str) -> None:
    shared = _shared_mean(rank, folder)
    shared.mean(torch.ones(4))
    if rank == COUNT - 1:
        return  # its pipes close when it ends
    said: Any = None
    try:
        while True:
            shared.mean(torch.ones(4))
    except RuntimeError as e:
        said = (str(e), is_lost_peer(e))
    torch.save(said, f"{folder}/{rank}.pt")


@pytest.mark.timeout(300)
def test_no_replica_waits_for_one_that_has_ended(tmp_path: Path) -> None:
    mp.spawn(_lose_one, (str(tmp_path),), nprocs=COUNT)
    for rank in range(COUNT - 1):
        said, lost_peer = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert "another replica has ended" in said
        assert lost_peer
