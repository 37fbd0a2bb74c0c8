"""Under DistributedDataParallel, replicas learn from the mean of their separate gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Dict, List

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from accelerators.replica_group import joined
from normlab import norms
from normlab.norms import make

REPLICAS = 2


def net_of(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), make(kind, 8, "relu")).double()


def gradients(model: nn.Module, x: Tensor) -> List[Tensor]:
    model(x).square().sum().backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def replica(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    x = torch.load(f"{folder}/x.pt", weights_only=True).chunk(REPLICAS)[rank]
    found: Dict[str, List[Tensor]] = {}
    with joined("cpu", rank, REPLICAS, Path(folder)):
        for kind in norms.LAYERS:
            if _has_booleans(net_of(kind)) and not _broadcasts_booleans():
                continue
            model = DistributedDataParallel(net_of(kind), find_unused_parameters=True)
            found[kind] = gradients(model, x)
    torch.save(found, f"{folder}/{rank}.pt")


def _has_booleans(net: nn.Module) -> bool:
    return any(b.dtype == torch.bool for b in net.buffers())


def _broadcasts_booleans() -> bool:
    """Whether gloo can send them, which DistributedDataParallel needs; PyTorch 2.0 cannot."""
    try:
        dist.broadcast(torch.tensor(False), 0)
    except RuntimeError:
        return False
    return True


def test_every_kind_learns_by_the_mean_over_its_replicas(tmp_path: Path) -> None:
    x = torch.randn(4, 3, 4, 4, dtype=torch.float64, device="cpu")
    torch.save(x, tmp_path / "x.pt")
    mp.spawn(replica, (str(tmp_path),), nprocs=REPLICAS)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(REPLICAS)]
    for kind in found[0]:
        alone = [gradients(copy.deepcopy(net_of(kind)), part) for part in x.chunk(REPLICAS)]
        mean = [sum(parts) / REPLICAS for parts in zip(*alone)]
        for rank in range(REPLICAS):
            torch.testing.assert_close(found[rank][kind], mean, msg=lambda m, k=kind: f"{k}: {m}")
