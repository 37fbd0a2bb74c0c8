"""`normlab demo`: train on a real stack to see which normalizers still work with two samples."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from normlab.cli.connecting import client_of
from normlab.cli.output import last, print_json, print_table
from normlab.cli.progress import POLL_S, follow
from normlab.client import Client
from normlab.counting import counted
from normlab.not_finite import written
from normlab.records import JobRecord
from normlab.specs.devices import DEVICES
from normlab.stacks.own import own_stack


class Arm(NamedTuple):
    """One side of the comparison."""

    label: str
    normalizer: Dict[str, Any]
    statistics: str  # the number of samples per statistic


ARMS = (
    Arm("batch", {"kind": "batch"}, "32"),
    Arm("batch", {"kind": "batch", "virtual_batch_size": 2}, "2"),
    Arm("group(4)", {"kind": "group", "groups": 4}, "1"),
    Arm("group(4) + proxy", {"kind": "group", "groups": 4, "proxy": True}, "1"),
)
WARMUP_SHARE = 0.05


class Row(NamedTuple):
    """The accuracies of one arm, seed by seed."""

    arm: Arm
    accuracies: List[float]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.accuracies)


def run(
    epochs: int,
    seeds: int,
    slots: int,
    data_dir: Optional[Path],
    device: str = "cpu",
    *,
    as_json: bool = False,
) -> int:
    """Start a stack, train, print the table, stop the stack; return the exit code."""
    begun = time.monotonic()
    with _folder(data_dir) as folder:
        many = counted(slots, "slot")
        _tell(f"starting PostgreSQL, Redis, API and a worker with {many} in {folder}")
        with own_stack(folder, _settings(slots, device)) as connection:
            _tell(f"up after {time.monotonic() - begun:.1f} s: {connection.url}")
            with client_of(connection) as client:
                ended = _train(client, epochs, seeds, device)
        _tell("stopped")
    failed = [job for job in ended if job.state != "succeeded"]
    for job in failed:
        reason = job.error.message if job.error else job.state
        _tell(f"job {job.id} ({job.name}) did not succeed: {reason}")
    if failed:
        return 1
    runtimes = {job.device for job in ended} | {job.runtime for job in ended if job.runtime}
    seconds = time.monotonic() - begun
    _print(tabulate(ended, seeds), seeds, epochs, seconds, ", ".join(sorted(runtimes)), as_json)
    return 0


def spec(arm: Arm, seed: int, epochs: int, device: str = "cpu") -> Dict[str, Any]:
    """Return one job: every arm has the same training except for the normalizer."""
    runtime = {"ipu_runtime": "emulated"} if DEVICES[device].simulated else {}
    return {
        **runtime,
        "name": f"{arm.label}, statistics over {arm.statistics}, seed {seed}",
        "normalizer": arm.normalizer,
        "model": {"name": "preresnet8", "width": 8},
        "dataset": {"name": "shapes32"},
        "batch_size": 32,
        "epochs": epochs,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "cosine", "warmup_epochs": WARMUP_SHARE * epochs},
        "device": device,
        "threads": 1,
        "seed": seed,
    }


def tabulate(jobs: Sequence[JobRecord], seeds: int) -> List[Row]:
    """Collect the accuracies of *jobs*, which are ordered by arm and then by seed."""
    rows = []
    for i, arm in enumerate(ARMS):
        values = [last(job, "val/accuracy") for job in jobs[i * seeds : (i + 1) * seeds]]
        rows.append(Row(arm, [v for v in values if v is not None]))
    return rows


def verdict(rows: Sequence[Row]) -> str:
    """Summarize how well batch norm works with few samples, compared with the others."""
    large, small, _, proxy = rows
    loss = large.mean - small.mean
    return (
        f"Batch norm {'loses' if loss > 0 else 'gains'} {abs(loss) * 100:.1f} points when its "
        f"statistics come from 2 samples instead of 32 ({_clear(large, small)}); "
        f"group norm with proxy activation does not depend on the batch and is "
        f"{abs(proxy.mean - small.mean) * 100:.1f} points "
        f"{'above' if proxy.mean > small.mean else 'below'} that ({_clear(proxy, small)}), "
        f"{abs(proxy.mean - large.mean) * 100:.1f} "
        f"{'above' if proxy.mean > large.mean else 'below'} batch norm over 32."
    )


def _clear(a: Row, b: Row) -> str:
    # with few seeds, we only ask whether the two sets of results overlap
    apart = max(min(a.accuracies), min(b.accuracies)) > min(max(a.accuracies), max(b.accuracies))
    return "every seed agrees" if apart else "the seeds overlap"


def study(epochs: int, seeds: int, device: str = "cpu") -> Dict[str, Any]:
    """Return the study of all arms, whose seeds train together where that is faster."""
    base = spec(ARMS[0], 0, epochs, device)
    shared = {name: value for name, value in base.items() if name not in ("name", "seed")}
    names = [f"{arm.label}, statistics over {arm.statistics}" for arm in ARMS]
    axis = {"normalizer": [arm.normalizer for arm in ARMS], "name": names}
    # a different name each time, because the same study runs only once
    name = f"demo of {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}"
    return {"name": name, "base": shared, "axes": [axis], "seeds": seeds, "reuse": False}


def _train(client: Client, epochs: int, seeds: int, device: str) -> List[JobRecord]:
    made = client.studies.create(study(epochs, seeds, device))
    ids = _queued(client, made.id)
    _tell(f"{counted(len(ids), 'job')} queued")
    try:
        return follow(client, ids)
    except KeyboardInterrupt:
        _tell("interrupted; stopping the stack")
        raise


def _queued(client: Client, study: str) -> List[str]:
    """Return the jobs of all cells, as soon as the last cell of a large study is queued."""
    while True:
        jobs = [cell.job for cell in client.studies.get(study).grid]
        if None not in jobs:
            return [job for job in jobs if job is not None]
        time.sleep(POLL_S)


def _print(
    rows: List[Row], seeds: int, epochs: int, seconds: float, runtimes: str, as_json: bool
) -> None:
    if as_json:
        plain = [{**r.arm._asdict(), "mean": r.mean, "accuracies": r.accuracies} for r in rows]
        said = {"rows": plain, "verdict": verdict(rows), "runtime": runtimes}
        print_json({**said, "seconds": round(seconds, 1)})
        return
    columns = ["normalizer", "statistics over", "mean", *(f"seed {s}" for s in range(seeds))]
    cells = [
        [r.arm.label, r.arm.statistics, *(written(a, ".3f") for a in (r.mean, *r.accuracies))]
        for r in rows
    ]
    title = f"Validation accuracy on shapes32 after {epochs} epochs, 32 samples per update"
    print()
    print_table(columns, cells, title)
    print(f"\n{verdict(rows)}\n{len(rows) * seeds} jobs on {runtimes} in {seconds:.0f} s.")


def _settings(slots: int, device: str) -> Dict[str, str]:
    here = {"NORMLAB_PORT": "0", "NORMLAB_HOST": "127.0.0.1"}
    return {**here, "NORMLAB_SLOTS": str(slots), "NORMLAB_DEVICES": device}


@contextmanager
def _folder(given: Optional[Path]) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="normlab-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
