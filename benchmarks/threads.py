"""The number of threads that a job chooses, against fixed numbers: python -m benchmarks.threads."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from accelerators import open_accelerator
from benchmarks.table import show
from normlab.host.limits import usable_cores
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import BufferedReporter
from workers.worker import job_environment

NAME = "threads"
MOST_LOST = 0.1
_SHAPES = {"name": "shapes32", "train_size": 3000, "test_size": 64}
JOBS: Dict[str, Dict[str, Any]] = {
    "digits, batch 2": {"dataset": {"name": "digits"}, "batch_size": 2, "max_steps": 700},
    "preresnet8, batch 2": {"dataset": _SHAPES, "batch_size": 2, "max_steps": 500},
    "preresnet8, batch 32": {"dataset": _SHAPES, "batch_size": 32, "max_steps": 200},
    "preresnet8, batch 32, few": {"dataset": _SHAPES, "batch_size": 32, "max_steps": 19},
    "resnet20, batch 32, few": {
        "dataset": _SHAPES,
        "batch_size": 32,
        "max_steps": 19,
        "model": {"name": "resnet20"},
    },
    "resnet20, batch 32": {
        "dataset": _SHAPES,
        "batch_size": 32,
        "max_steps": 200,
        "model": {"name": "resnet20"},
    },
}


def main() -> int:
    """Measure in a process with a job's environment; return 1 if the loss is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only jobs whose name begins with this")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.inside:
        return _inside(sys.argv[1:])
    jobs = {name: fields for name, fields in JOBS.items() if name.startswith(chosen.only)}
    load = os.getloadavg()[0]
    rows = []
    for busy in (False, True):
        with _busy_core(busy):
            rows += [_compare(name, jobs[name], busy, chosen.rounds) for name in jobs]
    note = (
        f"seconds of whole trainings, including the choice; medians of {chosen.rounds} rounds in "
        f"turn; lost: against the best fixed number, at most {MOST_LOST}; load before {load:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["lost"] > MOST_LOST for row in rows))


def _inside(arguments: List[str]) -> int:
    # OpenMP reads its settings when it is loaded, so a job's environment needs a new process
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **job_environment(os.environ, "cpu", Path(folder)),
            "OMP_NUM_THREADS": str(usable_cores()),
        }
        command = [sys.executable, "-m", "benchmarks.threads", "--inside", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


@contextmanager
def _busy_core(busy: bool) -> Iterator[None]:
    """Keep the last core busy in the meantime, if *busy*."""
    if not busy:
        yield
        return
    core = max(os.sched_getaffinity(0))
    loop = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def _compare(name: str, fields: Dict[str, Any], busy: bool, rounds: int) -> Dict[str, Any]:
    most = usable_cores()
    numbers: List[Optional[int]] = [None, *(2**k for k in range(most.bit_length()) if 2**k <= most)]
    seconds: Dict[Optional[int], List[float]] = {number: [] for number in numbers}
    taken: List[int] = []
    for turn in range(rounds + 1):
        for number in numbers if turn % 2 else reversed(numbers):
            begun = time.perf_counter()
            threads = _train(fields, number, most)
            if turn == 0:  # warms the caches
                continue
            seconds[number].append(time.perf_counter() - begun)
            taken += [threads] if number is None else []
    own = seconds.pop(None)
    best = min(seconds, key=lambda number: statistics.median(seconds[number]))
    return {
        "job": name,
        "cores": "one busy" if busy else "as found",
        **{f"{number} s": statistics.median(times) for number, times in seconds.items()},
        "own s": statistics.median(own),
        "took": " ".join(map(str, sorted(set(taken)))),
        "lost": statistics.median(mine / other for mine, other in zip(own, seconds[best])) - 1,
    }


def _train(fields: Dict[str, Any], threads: Optional[int], most: int) -> int:
    """Train the job with *threads*, or with its own choice; return the number."""
    given = {"normalizer": "batch", "epochs": 100, "device": "cpu", "threads": threads, **fields}
    spec = JobSpec.model_validate(given)
    accelerator = open_accelerator("cpu", spec, most)
    with tempfile.TemporaryDirectory() as folder, BufferedReporter(lambda event: None) as reporter:
        checkpoints = CheckpointFolder(Path(folder), spec.fingerprint())
        summary = fit(spec, accelerator, reporter, checkpoints, Path(), lambda: None)
    return int(summary["threads"])


if __name__ == "__main__":
    sys.exit(main())
