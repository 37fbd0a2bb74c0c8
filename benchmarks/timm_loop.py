"""A job that trains a network of timm, compared with timm's own loop and unchanged network."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.command import as_measured, parser_of, show
from benchmarks.throughput import train_job
from benchmarks.turns import ProcessTurn, TurnResult, in_turns
from normlab.specs.jobs import JobSpec

NAME = "timm_loop"
TARGET = 0.95
CASES = (("test_resnet", "batch", 32), ("test_convnext", "layer", 32), ("test_vit", "layer", 8))
_LR, _DECAY, _SMOOTHING = 1e-3, 0.05, 0.1
_TRAIN, _TEST = 1024, 512
Theirs = Callable[[str, JobSpec, ProcessTurn], None]
_PIECES = 4  # updates of a turn


def main() -> int:
    """Measure, print the table, and return 1 if the job falls behind."""
    chosen = parser_of(__doc__, rounds=7).parse_args()
    from benchmarks import timm_script  # after --help, which needs no timm

    compare = partial(_compare, timm_script.train)
    load_before = os.getloadavg()[0]
    rows = as_measured(compare(*case, chosen.rounds) for case in CASES)
    note = (
        "seconds from the first update to the end, with evaluation and, for the job, reports and a "
        f"checkpoint; medians of {chosen.rounds} rounds, each in two new processes that "
        "take turns; data in memory, float32, one thread; timm's side has its own norm layers; "
        f"target: ratio >= {TARGET}; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["ratio"] < TARGET for row in rows))


def _compare(theirs: Theirs, net: str, kind: str, batch_size: int, rounds: int) -> dict[str, Any]:
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
        "timm": lambda turn: theirs(net, spec, turn),
    }
    pairs: list[tuple[TurnResult, TurnResult]] = []
    for i in range(rounds):
        spent = in_turns(works if i % 2 else dict(reversed(works.items())), _PIECES)
        pairs.append((spent["job"], spent["timm"]))
    return {
        "network": net,
        "normalizer": kind,
        "batch_size": batch_size,
        "job_images_per_s": _TRAIN / statistics.median(job.wall_s for job, _ in pairs),
        "timm_images_per_s": _TRAIN / statistics.median(t.wall_s for _, t in pairs),
        "ratio": statistics.median(t.wall_s / job.wall_s for job, t in pairs),
        "processor_time_ratio": statistics.median(t.cpu_s / job.cpu_s for job, t in pairs),
    }


if __name__ == "__main__":
    sys.exit(main())
