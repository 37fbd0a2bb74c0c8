"""The training loop of timm's script, for images that lie in memory. Needs timm."""

from __future__ import annotations

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

from accelerators.host_heap import keep_freed_memory
from benchmarks.turns import Turn
from normlab.data import Data, load
from normlab.specs.jobs import JobSpec

_LOG_INTERVAL = 50  # updates
Batch = tuple[Tensor, Tensor]


def train(name: str, spec: JobSpec, turn: Turn) -> None:
    """Train *name* for one epoch, and validate."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a job
    data = load(spec.dataset, Path())
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    size = {"img_size": data.image_size} if fixed else {}
    torch.manual_seed(spec.seed)
    model = timm.create_model(name, num_classes=data.num_classes, **size)
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=spec.optimizer.lr, weight_decay=spec.optimizer.weight_decay
    )
    updates = len(data.train) // spec.batch_size
    scheduler = CosineLRScheduler(optimizer, t_initial=updates, t_in_epochs=False)
    turn.start()
    batches = _batches(data, spec.batch_size)
    smoothed = LabelSmoothingCrossEntropy(spec.label_smoothing)
    _train_one_epoch(model, batches, smoothed, optimizer, scheduler, turn)
    _validate(model, data)


def _batches(data: Data, size: int) -> Iterator[Batch]:
    order = torch.randperm(len(data.train))
    for i in range(len(order) // size):
        index = order[i * size : (i + 1) * size]
        yield data.train.x[index], data.train.y[index]


def _train_one_epoch(
    model: nn.Module,
    batches: Iterator[Batch],
    loss_of: nn.Module,
    optimizer: Any,
    scheduler: Any,
    turn: Turn,
) -> float:
    losses = AverageMeter()
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
