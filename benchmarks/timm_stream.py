"""A job that streams a folder of pictures, compared with timm's own loop and loader."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import as_measured, at_least_one, parser_of, show
from benchmarks.new_processes import Spent, Stopwatch, in_new_process
from benchmarks.pictures import write_tree
from benchmarks.throughput import train_job
from normlab.data.opening import opened
from normlab.specs.jobs import JobSpec

NAME = "timm_stream"
TARGET = 0.95
CASES = (("test_resnet", "batch", 32), ("test_convnext", "layer", 32))
_SIDE, _SIZE = 160, 96  # pixels of the files, and of the training
_COUNTS = {"train": 1536, "test": 256}


def main() -> int:
    """Measure, print the table, and return 1 if the job falls behind."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--workers", type=at_least_one, default=2)
    chosen = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as root:
        write_tree(Path(root) / "set", _SIDE, _COUNTS)
        rows = as_measured(
            _compare(*case, chosen.workers, Path(root), chosen.rounds) for case in CASES
        )
    note = (
        f"an epoch of {_COUNTS['train']} JPEG pictures of {_SIDE} pixels, resized to {_SIZE} by "
        f"{chosen.workers} workers, and the evaluation of {_COUNTS['test']}; for the job, reports "
        f"and a checkpoint; float32, one thread; medians of {chosen.rounds} rounds in "
        "turn, each in new processes; timm's side has its own loader and norm layers; target: "
        f"ratio >= {TARGET}; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["ratio"] < TARGET for row in rows))


def _compare(
    net: str, kind: str, batch_size: int, workers: int, root: Path, rounds: int
) -> dict[str, Any]:
    spec = _spec(net, kind, batch_size, workers)
    with opened(spec, root, lambda: None):
        pass  # the one pass over all data, whose result is stored, is not part of an epoch
    works = {"job": (_job, spec, root), "timm": (_timm, net, spec, root)}
    pairs: list[tuple[Spent, Spent]] = []
    for i in range(rounds):
        spent = {
            name: in_new_process(*works[name], fork=True)
            for name in sorted(works, reverse=bool(i % 2))
        }
        pairs.append((spent["job"], spent["timm"]))
    images = _COUNTS["train"]
    return {
        "network": net,
        "normalizer": kind,
        "batch_size": batch_size,
        "workers": workers,
        "job_images_per_s": images / statistics.median(job.wall_s for job, _ in pairs),
        "timm_images_per_s": images / statistics.median(t.wall_s for _, t in pairs),
        "ratio": statistics.median(t.wall_s / job.wall_s for job, t in pairs),
        "processor_time_ratio": statistics.median(t.cpu_s / job.cpu_s for job, t in pairs),
    }


def _spec(net: str, kind: str, batch_size: int, workers: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": kind,
            "model": {"name": f"timm/{net}"},
            "dataset": {"name": "image_folder", "folder": "set", "image_size": _SIZE},
            "loading": {"mode": "stream", "workers": workers},
            "batch_size": batch_size,
            "epochs": 1,
            "device": "cpu",
            "label_smoothing": 0.1,
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
        }
    )


def _job(spec: JobSpec, root: Path) -> Spent:
    watch = Stopwatch()
    train_job(spec, watch, root)
    return watch.spent()


def _timm(net: str, spec: JobSpec, root: Path) -> Spent:
    from benchmarks import timm_script  # not in the process that prints --help without timm

    watch = Stopwatch()
    timm_script.train_folder(net, spec, root / "set", watch.start)
    return watch.spent()


if __name__ == "__main__":
    sys.exit(main())
