"""The network of torch's layers with which packs are compared trains the same as they do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.packs import falls_short
from benchmarks.peer_stock import stock
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.training.packs.session import PackSession

RATE = 0.1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_torchs_own_layers_train_what_a_pack_trains(optimizer: str) -> None:
    torch.manual_seed(0)
    fields = {"normalizer": "batch", "optimizer": {"name": optimizer}}
    specs = [JobSpec.model_validate({**fields, "seed": seed}) for seed in range(3)]
    nets = [build(spec.model, spec.normalizer, 1, 4, 16) for spec in specs]
    x, y = torch.randn(3, 5, 1, 16, 16), torch.randint(4, (3, 5))
    alone = [stock(net, *own, optimizer, RATE) for net, *own in zip(nets, x, y, strict=True)]
    session = PackSession(nets, specs)
    session.prepare([RATE] * len(specs), 0.0)
    ours = torch.stack([session.train(x, y).losses for _ in range(3)])
    theirs = torch.stack([torch.stack([step() for step in alone]) for _ in range(3)])
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("gain", "over_stock", "short"),
    [(3.8, 6.1, False), (3.8, 4.9, True), (0.9, 6.1, True), (1.2, None, False)],
    ids=["enough", "too little over PyTorch", "slower than jobs alone", "a kind torch lacks"],
)
def test_a_pack_has_to_gain_over_pytorch_and_not_to_lose_over_our_jobs(
    gain: float, over_stock: float | None, short: bool
) -> None:
    row: dict[str, Any] = {"batch": 2, "members": 16, "gain": gain, "over stock": over_stock}
    assert falls_short(row) is short
