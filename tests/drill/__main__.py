"""
The fault drill: `python -m tests.drill --seed 7 --faults 100`.

Starts the real stack, keeps short jobs running, injects faults at seeded random moments,
and checks at the end that every accepted job ended once, with every step once, and with the
same numbers as its twins without faults.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from rich.console import Console

from tests.drill.drill_stack import DrillStack
from tests.drill.faults import FAULTS, Drill, Outcome, faults_of
from tests.drill.load import Load
from tests.drill.observer import Observer
from tests.drill.verdict import Verdict, judge, show
from tests.s3 import Bucket, s3_server

_SETTLES_WITHIN_S = 300


def run(
    folder: Path,
    seed: int,
    faults: int,
    notice_s: float,
    console: Console,
    bucket: Bucket | None = None,
) -> Verdict:
    """Inject this number of *faults*, every kind in turn, and check the jobs afterwards."""
    stack = DrillStack(folder, bucket)
    kinds = faults_of(bucket=bucket is not None)
    random = Random(seed)
    try:
        stack.start()
        observer = Observer(stack.postgres.database_url)
        drill = Drill(stack, Load(stack, observer.unended), observer, random, notice_s)
        drill.load.start()
        outcomes = [_inject(drill, name, console) for name in _plan(random, faults, kinds)]
        drill.load.stop()
        observer.until(lambda: observer.unended() == 0, _SETTLES_WITHIN_S)
        verdict = judge(drill, outcomes, left_behind=_stop_workers(stack, observer))
        observer.database.close()
    finally:
        stack.stop()
    return verdict


def _plan(random: Random, faults: int, kinds: list[str]) -> list[str]:
    plan: list[str] = []
    while len(plan) < faults:
        plan += random.sample(sorted(kinds), len(kinds))
    return plan[:faults]


def _inject(drill: Drill, name: str, console: Console) -> tuple[str, Outcome]:
    time.sleep(drill.random.uniform(0, 1.5))
    began = time.monotonic()
    outcome = FAULTS[name](drill)
    recovery = "never" if outcome.recovery_s is None else f"{outcome.recovery_s:.2f} s"
    console.print(
        f"{name:28} {len(outcome.jobs)} jobs, recovered after {recovery}, "
        f"{time.monotonic() - began:.1f} s in total{' LATE' if outcome.late else ''}"
    )
    return name, outcome


def _stop_workers(stack: DrillStack, observer: Observer) -> int:
    for worker in list(stack.workers):
        worker.process.terminate()
        worker.process.wait()
    observer.until(lambda: stack.left_behind() == 0, 10)
    return stack.left_behind()


def main() -> int:
    """Run the drill and print its table; exit with 1 if a guarantee was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument(
        "--notice",
        type=float,
        default=2.0,
        help="seconds that a busy machine may need to notice a fault",
    )
    parser.add_argument("--folder", type=Path, help="folder for all data; default: a temporary one")
    parser.add_argument(
        "--bucket", action="store_true", help="keep the files of jobs in a bucket, not in a folder"
    )
    options = parser.parse_args()
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stack is stopped too
    with tempfile.TemporaryDirectory(prefix="drill-") as temporary, ExitStack() as servers:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bucket = Bucket(*servers.enter_context(s3_server())) if options.bucket else None
        how = (options.seed, options.faults, options.notice, console, bucket)
        verdict = run(folder, *how)
    show(verdict, console)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
