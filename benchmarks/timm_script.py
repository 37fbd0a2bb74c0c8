"""The training loop of timm's script, for images in memory or in a folder. Needs timm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, accuracy
from torch import Tensor, nn

from accelerators.small_updates import keep_freed_memory
from benchmarks.turns import ProcessTurn
from normlab.data import Data, load
from normlab.specs.jobs import JobSpec

_LOG_INTERVAL = 50  # updates
Batch = tuple[Tensor, Tensor]


def train(name: str, spec: JobSpec, turn: ProcessTurn) -> None:
    """Train *name* for one epoch on images in memory, and validate."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a job
    data = load(spec.dataset, Path())
    fit = _Fit(name, spec, data.num_classes, data.image_size, len(data.train))
    turn.start()
    fit.train_one_epoch(_batches(data, spec.batch_size), turn)
    fit.validate(zip(data.test.x.split(256), data.test.y.split(256), strict=True))


def train_folder(name: str, spec: JobSpec, folder: Path, begins: Callable[[], None]) -> None:
    """Train *name* for one epoch on a folder of images, as its script reads them, and validate."""
    torch.set_num_threads(1)
    keep_freed_memory()
    images = [create_dataset("folder", str(folder / split)) for split in ("train", "test")]
    size = spec.dataset.image_size
    how: dict[str, Any] = {"input_size": (3, size, size), "device": torch.device("cpu")}
    how |= {"num_workers": spec.loading.workers, "no_aug": True, "crop_pct": 1.0}
    sizes = (spec.batch_size, 256)
    training, testing = (
        create_loader(split, batch_size=size, is_training=size != sizes[-1], **how)
        for split, size in zip(images, sizes, strict=True)
    )
    fit = _Fit(name, spec, len(images[0].reader.class_to_idx), size, len(images[0]))
    begins()
    fit.train_one_epoch(training)
    fit.validate(testing)


class _Fit:
    """The network, loss, optimizer and schedule that timm's script makes from its arguments."""

    def __init__(self, name: str, spec: JobSpec, classes: int, side: int, images: int) -> None:
        fixed = timm.get_pretrained_cfg(name).fixed_input_size
        size = {"img_size": side} if fixed else {}
        torch.manual_seed(spec.seed)
        self.model = timm.create_model(name, num_classes=classes, **size)
        given = spec.optimizer
        self.optimizer = create_optimizer_v2(
            self.model, opt="adamw", lr=given.lr, weight_decay=given.weight_decay
        )
        updates = images // spec.batch_size
        self.scheduler = CosineLRScheduler(self.optimizer, t_initial=updates, t_in_epochs=False)
        self.loss = LabelSmoothingCrossEntropy(spec.label_smoothing)

    def train_one_epoch(
        self, batches: Iterable[Batch], turn: Callable[[], None] = lambda: None
    ) -> float:
        """Make an update from each of *batches*; return the mean loss."""
        losses = AverageMeter()
        self.model.train()
        self.optimizer.zero_grad()
        for number, (x, y) in enumerate(batches, 1):
            turn()
            loss = self.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.update(loss.item(), x.size(0))
            self.scheduler.step_update(num_updates=number, metric=losses.avg)
            if number % _LOG_INTERVAL == 0:
                print(
                    f"Train: {number} Loss: {losses.val:#.3g} ({losses.avg:#.3g})", file=sys.stderr
                )
        return float(losses.avg)

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> float:
        """Return the accuracy on *batches* in percent."""
        self.model.eval()
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        for x, y in batches:
            output = self.model(x)
            losses.update(nn.functional.cross_entropy(output, y).item(), x.size(0))
            first, fifth = accuracy(output, y, topk=(1, 5))
            top1.update(first.item(), x.size(0))
            top5.update(fifth.item(), x.size(0))
        return float(top1.avg)


def _batches(data: Data, size: int) -> Iterator[Batch]:
    order = torch.randperm(len(data.train))
    for i in range(len(order) // size):
        index = order[i * size : (i + 1) * size]
        yield data.train.x[index], data.train.y[index]
