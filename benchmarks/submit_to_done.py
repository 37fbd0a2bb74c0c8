"""The time of a job without work, and the memory of a stack without jobs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.table import show
from normlab.cli.own_stack import own_stack
from normlab.client import Client

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
    """Submit a job that does nothing; return the seconds until the client knows its end."""
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


def quantiles(
    measure: Callable[[Client], float], client: Client, count: int
) -> tuple[float, float]:
    """Return the median and the 95th percentile of *count* measurements."""
    values = sorted(measure(client) for _ in range(count))
    return statistics.median(values), values[int(0.95 * (len(values) - 1))]


def main() -> int:
    """Measure, print the table, and return 1 if a target is missed."""
    with fresh_stack() as client:
        done, done_95 = quantiles(until_done, client, JOBS)
        step, step_95 = quantiles(until_first_step, client, FIRST_STEPS)
    with fresh_stack(warm_host="false"):
        time.sleep(SETTLE_S)  # not a race: memory from the start-up needs time to be returned
        memory = idle_bytes() / 2**20
    rows = [
        row("submit to finished, no-op job", "s", done, done_95, most=0.1),
        row("submit to first update", "s", step, step_95, most=0.5),
        row("idle memory without the warm host", "MiB", memory, None, most=400),
    ]
    show(NAME, rows, "one CPU worker with one slot; seconds as measured by a client over HTTP")
    return 0 if all(one["met"] == "yes" for one in rows) else 1


def row(what: str, unit: str, value: float, p95: float | None, most: float) -> dict[str, Any]:
    """Compare a figure with its target."""
    met = "yes" if value <= most else "no"
    figures = {"median": round(value, 4), "95 %": p95 and round(p95, 4)}
    return {"what": what, **figures, "unit": unit, "at most": most, "met": met}


if __name__ == "__main__":
    raise SystemExit(main())
