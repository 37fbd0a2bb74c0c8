"""A job's own number of threads compared with fixed ones, on free cores or beside a busy one."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NoReturn, Optional

from accelerators import cpu, open_accelerator
from benchmarks.command import as_measured, parser_of, show
from benchmarks.turns import ProcessTurn, TurnResult, Work, in_turns
from normlab.host.limits import usable_cores
from normlab.host.processes import die_with_parent
from normlab.specs.costs import update_s
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import SilentReporter
from workers.process import job_environment

NAME = "threads"
MOST_LOST = 0.1
OWN = "own"
_TURN_S = 0.05
_SHAPES = {"name": "shapes32", "train_size": 3000, "test_size": 64}
_RESNET = {"dataset": _SHAPES, "batch_size": 32, "model": {"name": "resnet20"}}
JOBS: Dict[str, Dict[str, Any]] = {
    "digits, batch 2": {"dataset": {"name": "digits"}, "batch_size": 2, "max_steps": 700},
    "digits, batch 32, few": {"dataset": {"name": "digits"}, "batch_size": 32, "max_steps": 190},
    "preresnet8, batch 2": {"dataset": _SHAPES, "batch_size": 2, "max_steps": 500},
    "preresnet8, batch 2, few": {"dataset": _SHAPES, "batch_size": 2, "max_steps": 190},
    "preresnet8, batch 32": {"dataset": _SHAPES, "batch_size": 32, "max_steps": 200},
    "preresnet8, batch 32, few": {"dataset": _SHAPES, "batch_size": 32, "max_steps": 100},
    "resnet20, batch 32, few": {**_RESNET, "max_steps": 19},
    "resnet20, batch 32": {**_RESNET, "max_steps": 200},
}
CORES = {"as found": False, "one busy": True}


def main() -> int:
    """Measure in a process with a job's environment, and return 1 if a job loses too much."""
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--only", default="", help="only jobs whose name begins with this")
    parser.add_argument("--cores", choices=CORES, help="only this state (default: both)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.inside:
        _go_inside(sys.argv[1:])
    jobs = {name: fields for name, fields in JOBS.items() if name.startswith(chosen.only)}
    load = os.getloadavg()[0]
    rows = []
    for cores in [chosen.cores] if chosen.cores else CORES:
        with _busy_core(CORES[cores]):
            rows += as_measured(_compare(name, jobs[name], cores, chosen.rounds) for name in jobs)
    note = (
        "seconds of whole trainings with the choice of threads, in turn, each in a process of its "
        f"own; medians of {chosen.rounds} rounds; lost: against the best fixed number, at most "
        f"{MOST_LOST}; load before {load:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["lost"] > MOST_LOST for row in rows))


def _go_inside(arguments: List[str]) -> NoReturn:
    # OpenMP reads its settings when it is loaded, so a job's environment needs a new process
    environment = {
        **job_environment(os.environ, "cpu", Path(tempfile.gettempdir())),
        "OMP_NUM_THREADS": str(usable_cores()),
    }
    command = [sys.executable, "-m", "benchmarks.threads", "--inside", *arguments]
    os.execve(sys.executable, command, environment)


@contextmanager
def _busy_core(busy: bool) -> Iterator[None]:
    """Keep the last core busy in the meantime, if *busy*."""
    if not busy:
        yield
        return
    core = max(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
    loop = subprocess.Popen(command, preexec_fn=die_with_parent)
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def _compare(name: str, fields: Dict[str, Any], cores: str, rounds: int) -> Dict[str, Any]:
    most = usable_cores()
    numbers = [2**k for k in range(most.bit_length()) if 2**k <= most]
    works = {OWN: _training(fields, None, most)}
    works.update({str(number): _training(fields, number, most) for number in numbers})
    pieces = max(1, round(_TURN_S / (update_s(_spec(fields, None)) or _TURN_S)))
    found: Dict[str, List[TurnResult]] = {number: [] for number in works}
    for turn in range(rounds):
        order = works if turn % 2 else dict(reversed(works.items()))
        for number, spent in in_turns(order, pieces).items():
            found[number].append(spent)
    return {"job": name, "cores": cores, **_figures(found)}


def _figures(found: Dict[str, List[TurnResult]]) -> Dict[str, Any]:
    seconds = {number: [one.wall_s for one in spent] for number, spent in found.items()}
    own = seconds.pop(OWN)
    best = min(seconds, key=lambda number: statistics.median(seconds[number]))
    return {
        **{f"{number} s": statistics.median(times) for number, times in seconds.items()},
        "own s": statistics.median(own),
        "took": " ".join(sorted({str(one.result) for one in found[OWN]})),
        "lost": statistics.median(mine / other for mine, other in zip(own, seconds[best])) - 1,
    }


def _training(fields: Dict[str, Any], threads: Optional[int], most: int) -> Work:
    """Return a training on *threads*, or on the number that it chooses; it returns the number."""

    def work(turn: ProcessTurn) -> int:
        spec = _spec(fields, threads)
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = CheckpointFolder(Path(folder), spec.fingerprint())
            accelerator = open_accelerator("cpu", spec, most)
            summary = fit(spec, accelerator, SilentReporter(), checkpoints, Path(), turn)
        return int(summary["threads"])

    return work


def _spec(fields: Dict[str, Any], threads: Optional[int]) -> JobSpec:
    given = {"normalizer": "batch", "epochs": 100, "device": "cpu", "threads": threads, **fields}
    return JobSpec.model_validate(given)


if __name__ == "__main__":
    cpu.keep_freed_memory()  # and the adapter's modules are imported once, before the forks
    sys.exit(main())
