"""How long an empty job takes, compared with a script that only imports torch."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.command import parser_of, show
from normlab.client import Client
from normlab.stacks.own import own_stack

NAME = "submit_to_done"
JOBS = 40
FIRST_STEPS = 8
SETTLE_S = 8.0
NO_OP = {"normalizer": "batch", "dataset": {"name": "digits"}, "epochs": 0, "device": "cpu"}
ONE_STEP = {**NO_OP, "epochs": 1, "max_steps": 1, "threads": 1}


@contextmanager
def fresh_stack(**settings: str) -> Iterator[Client]:
    """Run a new stack on a free port, with a live worker, and yield its client."""
    told = {f"NORMLAB_{name.upper()}": value for name, value in settings.items()}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-bench-"))
        found = stack.enter_context(own_stack(Path(folder), {"NORMLAB_PORT": "0", **told}))
        client = stack.enter_context(Client(found.url, found.token))
        client.wait(client.submit(NO_OP).id, timeout_s=60)
        yield client


def until_done(client: Client) -> float:
    """Submit a job that does nothing; return the seconds until the client sees its end."""
    begun = time.perf_counter()
    ended = client.wait(client.submit(NO_OP).id, timeout_s=60)
    seconds = time.perf_counter() - begun
    if ended.state != "succeeded":
        raise SystemExit(f"the job did not succeed: {ended.error}")
    return seconds


def until_first_step(client: Client) -> float:
    """Submit a job; return the seconds until its first update was done."""
    begun = time.time()
    ended = client.wait(client.submit(ONE_STEP).id, timeout_s=60)
    if ended.state != "succeeded":
        raise SystemExit(f"the job did not succeed: {ended.error}")
    return client.metrics(ended.id, "train/loss")["train/loss"].times[0] - begun


def idle_bytes() -> int:
    """Return the memory of all descendants of this process; shared pages count once."""
    return sum(p.memory_full_info().pss for p in psutil.Process().children(recursive=True))


def until_imported() -> float:
    """Return the seconds of a Python process that only imports torch."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - begun


def measured(
    what: str, measure: Callable[[Client], float], client: Client, count: int, most: float
) -> dict[str, Any]:
    """Return the row of *count* measurements; after every fourth, the peer is measured."""
    values, peers = [], []
    for i in range(count):
        values.append(measure(client))
        peers += [until_imported()] if i % 4 == 0 else []
    values.sort()
    p95 = values[int(0.95 * (len(values) - 1))]
    return row(what, "s", statistics.median(values), p95, most, statistics.median(peers))


def main() -> int:
    """Measure, print the table, and return 1 if a promised value is missed."""
    jobs: int = parser_of(__doc__, JOBS).parse_args().rounds
    steps = min(jobs, FIRST_STEPS)
    with fresh_stack() as client:
        rows = [
            measured("submit to finished, no-op job", until_done, client, jobs, most=0.1),
            measured("submit to first update", until_first_step, client, steps, most=0.5),
        ]
    with fresh_stack(warm_host="false"):
        time.sleep(SETTLE_S)  # not a race: memory from the start-up needs time to be returned
        memory = idle_bytes() / 2**20
    rows.append(row("idle memory without the warm host", "MiB", memory, None, most=400))
    note = (
        "one CPU worker with one slot; seconds as a client over HTTP sees them; script: a Python "
        "process that imports torch, started in between"
    )
    show(NAME, rows, note)
    return 0 if all(one["kept"] == "yes" for one in rows) else 1


def row(
    what: str, unit: str, value: float, p95: float | None, most: float, script: float | None = None
) -> dict[str, Any]:
    """Compare a figure with the promised value and with the peer."""
    kept = "yes" if value <= most else "no"
    figures = {"median": round(value, 4), "95 %": p95 and round(p95, 4)}
    peer = {"script": script, "script / ours": script and script / value}
    return {"what": what, **figures, "unit": unit, "at most": most, "kept": kept, **peer}


if __name__ == "__main__":
    raise SystemExit(main())
