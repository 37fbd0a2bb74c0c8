"""The cost of each diagnostic: processor time with it over without it, measured inside one job."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import torch

from accelerators import open_accelerator
from benchmarks.command import parser_of, show
from normlab.diagnostics.observers import OBSERVERS
from normlab.events import Event
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import BufferedReporter

_MOMENTS = ("after_update", "after_epoch", "at_end")


def main() -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--normalizer", default="batch")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rounds = [_job_s(chosen) for _ in range(chosen.rounds)]
    job_s = statistics.median(seconds.pop("job") for seconds in rounds)
    added = {name: statistics.median(seconds[name] for seconds in rounds) for name in DIAGNOSTICS}
    added["all"] = sum(added.values())
    rows = [
        {"diagnostic": name, "job_s": job_s, "added_s": s, "ratio": (job_s + s) / job_s}
        for name, s in added.items()
    ]
    note = (
        f"preresnet8 with {chosen.normalizer}, shapes32, {chosen.samples} samples, "
        f"{chosen.epochs} epochs of batch 32, one thread; processor time of a job with all, "
        f"measured separately for each diagnostic; medians of {chosen.rounds} rounds"
    )
    show("diagnostics", rows, note)


def _job_s(chosen: argparse.Namespace) -> Dict[str, float]:
    """Run a job with all diagnostics; return the seconds of each, and of the job without them."""
    spec = JobSpec.model_validate(
        {
            "normalizer": chosen.normalizer,
            "dataset": {"name": "shapes32", "train_size": chosen.samples, "test_size": 1000},
            "batch_size": 32,
            "epochs": chosen.epochs,
            "device": "cpu",
            "diagnostics": list(DIAGNOSTICS),
        }
    )
    sent: List[Event] = []
    with tempfile.TemporaryDirectory() as folder, _timed() as seconds:
        checkpoints = CheckpointFolder(Path(folder), spec.fingerprint())
        began = time.process_time()
        with BufferedReporter(sent.append) as reporter:
            accelerator = open_accelerator("cpu", spec, 1)
            fit(spec, accelerator, reporter, checkpoints, Path(), lambda: None)
        whole = time.process_time() - began
    return {**seconds, "job": whole - sum(seconds.values())}


@contextmanager
def _timed() -> Iterator[Dict[str, float]]:
    """Add the processor time of every observer to the returned counts."""
    seconds = dict.fromkeys(DIAGNOSTICS, 0.0)
    plain = dict(OBSERVERS)
    for name, kind in plain.items():
        methods = {m: _timing(getattr(kind, m), name, seconds) for m in _MOMENTS}
        OBSERVERS[name] = type(kind.__name__, (kind,), methods)
    try:
        yield seconds
    finally:
        OBSERVERS.update(plain)


def _timing(method: Any, name: str, seconds: Dict[str, float]) -> Callable[..., None]:
    def timed(self: Any, moment: Any) -> None:
        began = time.process_time()
        method(self, moment)
        seconds[name] += time.process_time() - began

    return timed


if __name__ == "__main__":
    main()
