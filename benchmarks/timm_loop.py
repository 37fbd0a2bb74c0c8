"""A job that trains a network of timm, against timm's own loop with the network as it is."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, accuracy
from torch import Tensor, nn

from accelerators import cpu  # noqa: F401 - so that both processes have it when they begin
from accelerators.host_heap import keep_freed_memory
from benchmarks.options import parser_of
from benchmarks.table import show
from benchmarks.throughput import train_job
from benchmarks.turns import Spent, Turn, in_turns
from normlab.data import Data, load
from normlab.specs.jobs import JobSpec

NAME = "timm_loop"
TARGET = 0.95
CASES = (("test_resnet", "batch", 32), ("test_convnext", "layer", 32), ("test_vit", "layer", 8))
_LR, _DECAY, _SMOOTHING = 1e-3, 0.05, 0.1
_TRAIN, _TEST = 1024, 512
_PIECES = 4  # updates of a turn
_LOG_INTERVAL = 50  # updates, as timm's script has it
Batch = tuple[Tensor, Tensor]


def main() -> int:
    """Measure, print the table, and return 1 if the job falls behind."""
    chosen = parser_of(__doc__, rounds=7).parse_args()
    load_before = os.getloadavg()[0]
    rows = [_compare(*case, chosen.rounds) for case in CASES]
    note = (
        "seconds from the first update to the end, evaluation and, for the job, reports and a "
        f"checkpoint included; medians of {chosen.rounds} rounds, each in two new processes that "
        "take turns; data in memory, float32, one thread; timm's side has its own norm layers; "
        f"target: ratio >= {TARGET}; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["ratio"] < TARGET for row in rows))


def _compare(net: str, kind: str, batch_size: int, rounds: int) -> dict[str, Any]:
    spec = JobSpec.model_validate(
        {
            "normalizer": kind,
            "model": {"name": f"timm/{net}"},
            "dataset": {"name": "shapes32", "train_size": _TRAIN, "test_size": _TEST},
            "batch_size": batch_size,
            "epochs": 1,
            "device": "cpu",
            "label_smoothing": _SMOOTHING,
            "optimizer": {"name": "adamw", "lr": _LR, "weight_decay": _DECAY},
        }
    )
    works = {
        "job": lambda turn: train_job(spec, turn),
        "timm": lambda turn: _timm(net, spec, turn),
    }
    pairs: list[tuple[Spent, Spent]] = []
    for i in range(rounds):
        spent = in_turns(works if i % 2 else dict(reversed(works.items())), _PIECES)
        pairs.append((spent["job"], spent["timm"]))
    return {
        "network": net,
        "normalizer": kind,
        "batch_size": batch_size,
        "job_images_per_s": _TRAIN / statistics.median(job.wall_s for job, _ in pairs),
        "timm_images_per_s": _TRAIN / statistics.median(theirs.wall_s for _, theirs in pairs),
        "ratio": statistics.median(theirs.wall_s / job.wall_s for job, theirs in pairs),
        "processor_time_ratio": statistics.median(t.cpu_s / job.cpu_s for job, t in pairs),
    }


def _timm(name: str, spec: JobSpec, turn: Turn) -> None:
    """Train as timm's script does, but for the reading of images: they lie in memory, as ours."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a job
    data = load(spec.dataset, Path())
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    size = {"img_size": data.image_size} if fixed else {}
    torch.manual_seed(spec.seed)
    model = timm.create_model(name, num_classes=data.num_classes, **size)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=_LR, weight_decay=_DECAY)
    updates = len(data.train) // spec.batch_size
    scheduler = CosineLRScheduler(optimizer, t_initial=updates, t_in_epochs=False)
    turn.start()
    _train_one_epoch(model, _batches(data, spec.batch_size), optimizer, scheduler, turn)
    _validate(model, data)


def _batches(data: Data, size: int) -> Iterator[Batch]:
    order = torch.randperm(len(data.train))
    for i in range(len(order) // size):
        index = order[i * size : (i + 1) * size]
        yield data.train.x[index], data.train.y[index]


def _train_one_epoch(
    model: nn.Module, batches: Iterator[Batch], optimizer: Any, scheduler: Any, turn: Turn
) -> float:
    loss_of, losses = LabelSmoothingCrossEntropy(_SMOOTHING), AverageMeter()
    model.train()
    optimizer.zero_grad()
    for number, (x, y) in enumerate(batches, 1):
        turn()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item(), x.size(0))
        scheduler.step_update(num_updates=number, metric=losses.avg)
        if number % _LOG_INTERVAL == 0:
            print(f"Train: {number} Loss: {losses.val:#.3g} ({losses.avg:#.3g})", file=sys.stderr)
    return float(losses.avg)


@torch.no_grad()
def _validate(model: nn.Module, data: Data) -> float:
    model.eval()
    losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
    for x, y in zip(data.test.x.split(256), data.test.y.split(256), strict=True):
        output = model(x)
        losses.update(nn.functional.cross_entropy(output, y).item(), x.size(0))
        first, fifth = accuracy(output, y, topk=(1, 5))
        top1.update(first.item(), x.size(0))
        top5.update(fifth.item(), x.size(0))
    return float(top1.avg)


if __name__ == "__main__":
    sys.exit(main())
