"""A job's training compared with a plain PyTorch script: same network, tensors and thread."""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import torch
import torch.nn.functional as F

from accelerators import open_accelerator
from benchmarks.table import show
from normlab.data import Data, load
from normlab.events import Event, Started
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import BufferedReporter

_TARGET = 0.98


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        _compare(normalizer, batch_size, chosen.rounds, chosen.epochs)
        for normalizer, batch_size in (("batch", 32), ("group", 8))
    ]
    note = (
        "seconds from the first update to the end, with evaluation and, for the job, reports and "
        f"checkpoints; medians of {chosen.rounds} interleaved rounds; "
        f"target: ratio {_TARGET}"
    )
    show("throughput", rows, note)


def _compare(normalizer: str, batch_size: int, rounds: int, epochs: int) -> Dict[str, Any]:
    spec = JobSpec.model_validate(
        {
            "normalizer": normalizer,
            "dataset": {"name": "shapes32", "train_size": 3000, "test_size": 1000},
            "batch_size": batch_size,
            "epochs": epochs,
            "device": "cpu",
            "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4},
        }
    )
    data = load(spec.dataset, Path())
    pairs = []
    for i in range(rounds + 1):
        if i % 2:
            job = _job_s(spec, data)
            pairs.append((job, _bare_s(spec, data)))
        else:
            bare = _bare_s(spec, data)
            pairs.append((_job_s(spec, data), bare))
    pairs = pairs[1:]  # the first round warms the caches
    images = epochs * len(data.train)
    return {
        "normalizer": normalizer,
        "batch_size": batch_size,
        "job_images_per_s": images / statistics.median(job.wall_s for job, _ in pairs),
        "bare_images_per_s": images / statistics.median(bare.wall_s for _, bare in pairs),
        "ratio": statistics.median(bare.wall_s / job.wall_s for job, bare in pairs),
        "processor_time_ratio": statistics.median(bare.cpu_s / job.cpu_s for job, bare in pairs),
    }


class _Seconds(NamedTuple):
    wall_s: float
    cpu_s: float  # of all threads; does not depend on other load

    @classmethod
    def now(cls) -> _Seconds:
        return cls(time.perf_counter(), time.process_time())

    def since(self, began: _Seconds) -> _Seconds:
        return _Seconds(self.wall_s - began.wall_s, self.cpu_s - began.cpu_s)


def _job_s(spec: JobSpec, data: Data) -> _Seconds:
    started: List[_Seconds] = []

    def send(event: Event) -> None:
        if isinstance(event, Started):
            started.append(_Seconds.now())
        event.to_line()

    with tempfile.TemporaryDirectory() as folder, BufferedReporter(send) as reporter:
        checkpoints = CheckpointFolder(Path(folder), spec.fingerprint())
        fit(spec, open_accelerator("cpu", spec, 1), reporter, checkpoints, Path(), lambda: None)
        return _Seconds.now().since(started[0])


def _bare_s(spec: JobSpec, data: Data) -> _Seconds:
    torch.manual_seed(spec.seed)
    model = build(spec.model, spec.normalizer, data.channels, data.num_classes, data.image_size)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    x, y = data.train.x, data.train.y
    per_epoch = len(y) // spec.batch_size
    began, step = _Seconds.now(), 0
    for _ in range(spec.epochs):
        model.train()
        order = torch.randperm(len(y))
        for i in range(per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 + math.cos(math.pi * step / (per_epoch * spec.epochs)))
            index = order[i * spec.batch_size : (i + 1) * spec.batch_size]
            optimizer.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
            step += 1
        _accuracy(model, data)
    return _Seconds.now().since(began)


@torch.no_grad()
def _accuracy(model: torch.nn.Module, data: Data) -> float:
    model.eval()
    correct = 0
    for x, y in zip(data.test.x.split(256), data.test.y.split(256)):
        correct += int((model(x).argmax(1) == y).sum())
    return correct / len(data.test)


if __name__ == "__main__":
    main()
