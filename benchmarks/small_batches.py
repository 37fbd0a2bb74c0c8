"""Updates of small batches compared with a plain PyTorch loop: the overhead besides arithmetic.

A job's session and the loop have the same network, batch, thread and optimizer, and take turns in
one process. Ratios are medians of processor time.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Dict, List

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accelerators.cpu import open_device
from benchmarks.command import as_measured, parser_of, show
from normlab.nets import build
from normlab.norms.batch import BatchNorm
from normlab.specs.jobs import JobSpec

NAME = "small_batches"
TARGET = 1.5  # at this batch size
TARGET_BATCH = 2
BATCHES = (1, 2, 4, 8)
NETS = ("preresnet8", "resnet20")
_SIZES = (3, 10, 32)  # channels, classes, side

Step = Callable[[], object]


def main() -> int:
    """Measure, print the table, and return 1 if the target is missed."""
    chosen = parser_of(__doc__, rounds=200).parse_args()
    rows = as_measured(_compare(net, batch, chosen.rounds) for net in NETS for batch in BATCHES)
    show(NAME, rows, f"one thread; target: preresnet8, batch {TARGET_BATCH}: ratio >= {TARGET}")
    return int(any(row["ratio"] < TARGET for row in rows if row["limit"] is not None))


def _compare(net: str, batch: int, rounds: int) -> Dict[str, Any]:
    spec = _spec(net, batch)
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    torch.manual_seed(0)
    models = [build(spec.model, spec.normalizer, *_SIZES) for _ in range(2)]
    models[1] = native(models[1])
    with open_device(spec, threads=1).session(models[0], spec) as session:
        session.prepare(0.01, 0.0)
        ours, loop = in_turns([lambda: session.train(x, y), plain(models[1], x, y)], rounds)
    aimed = net == "preresnet8" and batch == TARGET_BATCH
    return {
        "net": net,
        "batch_size": batch,
        "job_images_per_s": batch / ours,
        "plain_images_per_s": batch / loop,
        "ratio": loop / ours,
        "limit": TARGET if aimed else None,
    }


def _spec(net: str, batch: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "model": {"name": net},
            "dataset": {"name": "shapes32"},
            "normalizer": "batch",
            "batch_size": batch,
            "device": "cpu",
            "optimizer": {"name": "sgd", "lr": 0.01, "weight_decay": 5e-4},
        }
    )


def native(model: nn.Module) -> nn.Module:
    """Replace our batch norm with torch's."""
    for name, child in model.named_children():
        if isinstance(child, BatchNorm):
            setattr(model, name, nn.BatchNorm2d(child.num_features))
        else:
            native(child)
    return model


def plain(model: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Return an update as in a script: torch's layers, its fused SGD, and default settings."""
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
    )

    def step() -> None:
        optimizer.zero_grad()
        loss: Any = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def in_turns(steps: List[Step], rounds: int) -> List[float]:
    """Return the median seconds of each step."""
    times: List[List[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, found in zip(steps, times):
            began = time.thread_time()
            step()
            found.append(time.thread_time() - began)
    return [statistics.median(found[rounds // 10 :]) for found in times]


if __name__ == "__main__":
    raise SystemExit(main())
