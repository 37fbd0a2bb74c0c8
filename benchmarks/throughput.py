"""A job's training compared with a plain PyTorch script: same network, tensors and thread."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import torch
import torch.nn.functional as F

from accelerators import cpu  # noqa: F401 - so that both processes have it when they start
from accelerators.small_updates import keep_freed_memory
from benchmarks.command import as_measured, parser_of, show
from benchmarks.turns import Counting, ProcessTurn, TurnResult, in_turns
from normlab.data import Data, load
from normlab.events import Event, Started
from normlab.nets import build
from normlab.specs.costs import update_s
from normlab.specs.jobs import JobSpec
from workers.attempt import train
from workers.job_order import JobOrder
from workers.job_pipes import EventPipe

NAME = "throughput"
TARGET = 0.98
CASES = (("batch", 32), ("group", 8))
_TURN_S = 0.02  # long compared with filling the caches, short compared with disturbances


def main() -> int:
    """Measure, print the table, and return 1 if the job falls behind."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--epochs", type=int, default=1)
    chosen = parser.parse_args()
    load_before = os.getloadavg()[0]
    rows = as_measured(_compare(*case, chosen.rounds, chosen.epochs) for case in CASES)
    note = (
        "seconds from the first update to the end, with evaluation and, for the job, reports and "
        f"checkpoints; medians of {chosen.rounds} rounds, each in two new processes that "
        f"take turns; target: both ratios >= {TARGET}; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(min(row["ratio"], row["processor_time_ratio"]) < TARGET for row in rows))


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
    works = {
        "job": lambda turn: train_job(spec, turn.start),
        "bare": lambda turn: _bare(spec, turn),
    }
    pieces = max(1, round(_TURN_S / (update_s(spec) or _TURN_S)))
    found: Dict[str, List[TurnResult]] = {name: [] for name in works}
    for i in range(rounds):
        order = works if i % 2 else dict(reversed(works.items()))
        for name, spent in in_turns(order, pieces).items():
            found[name].append(spent)
    pairs = list(zip(found["job"], found["bare"]))
    images = epochs * (3000 // batch_size) * batch_size
    return {
        "normalizer": normalizer,
        "batch_size": batch_size,
        "job_images_per_s": images / statistics.median(job.wall_s for job, _ in pairs),
        "bare_images_per_s": images / statistics.median(bare.wall_s for _, bare in pairs),
        "ratio": statistics.median(bare.wall_s / job.wall_s for job, bare in pairs),
        "processor_time_ratio": statistics.median(bare.cpu_s / job.cpu_s for job, bare in pairs),
    }


def train_job(spec: JobSpec, turn: Counting, data_root: Optional[Path] = None) -> None:
    """
    Train as a job process does, with a process that reads its reports.

    Args:
        turn: started with the training, after everything is read and built; called before each
            update.
    """
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin is not None
    pipe = EventPipe(reader.stdin.fileno())

    def send(event: Event) -> None:
        pipe.send(event)
        if isinstance(event, Started):
            turn.start()

    with tempfile.TemporaryDirectory() as folder:
        order = JobOrder(
            job=NAME,
            attempt=1,
            spec=spec,
            device="cpu",
            folder=folder,
            data_root=str(data_root or folder),
            threads=1,
        )
        train(order, send, turn)


def _bare(spec: JobSpec, turn: ProcessTurn) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # without it a script is slower, which would hide the overhead of the job
    data = load(spec.dataset, Path())
    torch.manual_seed(spec.seed)
    model = build(spec.model, spec.normalizer, data.channels, data.num_classes, data.image_size)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    rates = _rates(spec.epochs * (len(data.train) // spec.batch_size))
    turn.start()
    for _ in range(spec.epochs):
        model.train()
        order = torch.randperm(len(data.train))
        for i in range(len(order) // spec.batch_size):
            turn()
            rate = next(rates)
            for group in optimizer.param_groups:
                group["lr"] = rate
            index = order[i * spec.batch_size : (i + 1) * spec.batch_size]
            optimizer.zero_grad()
            F.cross_entropy(model(data.train.x[index]), data.train.y[index]).backward()
            optimizer.step()
        _accuracy(model, data)


def _rates(steps: int) -> Iterator[float]:
    for step in range(steps):
        yield 0.05 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def _accuracy(model: torch.nn.Module, data: Data) -> float:
    model.eval()
    correct = 0
    for x, y in zip(data.test.x.split(256), data.test.y.split(256)):
        correct += int((model(x).argmax(1) == y).sum())
    return correct / len(data.test)


if __name__ == "__main__":
    sys.exit(main())
