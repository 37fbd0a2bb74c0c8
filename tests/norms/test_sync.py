import copy
from pathlib import Path

import torch
import torch.multiprocessing as mp

from accelerators.replica_group import joined
from normlab.norms import make

SIZES = (3, 2)  # samples per replica: different, so that counts matter


def replica(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    given = torch.load(f"{folder}/given.pt", weights_only=True)
    layer = make({"kind": "batch", "sync": True}, 4).double()
    layer.load_state_dict(given["state"])
    x = given["x"].split(SIZES)[rank].clone().requires_grad_()
    with joined("cpu", rank, len(SIZES), Path(folder)):
        y = layer(x)
        y.backward(given["g"].split(SIZES)[rank])
    found = {
        "y": y.detach(),
        "gx": x.grad,
        "weight": layer.weight.grad,
        "bias": layer.bias.grad,
        "state": layer.state_dict(),
    }
    torch.save(found, f"{folder}/{rank}.pt")


def test_synced_replicas_compute_the_same_as_one_process(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = make("batch", 4).double().cpu()
    layer.weight.data.uniform_(0.5, 2)
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64, device="cpu", requires_grad=True)
    g = torch.randn_like(x)
    state = copy.deepcopy(layer.state_dict())
    torch.save({"state": state, "x": x.detach(), "g": g}, tmp_path / "given.pt")
    mp.spawn(replica, (str(tmp_path),), nprocs=len(SIZES))
    y = layer(x)
    y.backward(g)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SIZES))]
    torch.testing.assert_close(torch.cat([part["y"] for part in parts]), y)
    torch.testing.assert_close(torch.cat([part["gx"] for part in parts]), x.grad)
    for name in ("weight", "bias"):
        total = sum(part[name] for part in parts)
        torch.testing.assert_close(total, getattr(layer, name).grad)
    for part in parts:
        torch.testing.assert_close(part["state"], layer.state_dict())


def test_without_replicas_sync_changes_nothing() -> None:
    x = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(make({"kind": "batch", "sync": True}, 6)(x), make("batch", 6)(x))
