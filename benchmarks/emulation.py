"""A job on the emulated IPU and the same job on the CPU: python -m benchmarks.emulation."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from accelerators import open_accelerator
from benchmarks.command import as_measured, parser_of, show
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import SilentReporter

NAME = "emulation"
TARGET = 1.3
CASES = (("batch", 2), ("group", 8), ("batch", 32))
ROUNDS = 5
SAMPLES = 1600


def compare(normalizer: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """Run both in turn on one thread; processor time is the same on a busy machine."""
    fields: dict[str, Any] = {
        "normalizer": normalizer,
        "dataset": {"name": "shapes32", "train_size": SAMPLES, "test_size": 400},
        "batch_size": batch_size,
        "epochs": 1,
        "max_steps": 100,
    }
    plain = JobSpec.model_validate({**fields, "device": "cpu"})
    emulated = JobSpec.model_validate({**fields, "device": "ipu", "ipu_runtime": "emulated"})
    pairs = [(_seconds(plain), _seconds(emulated)) for _ in range(rounds + 1)]
    cpu, ipu = zip(*pairs[1:])  # the first round warms the caches
    return {
        "normalizer": normalizer,
        "batch_size": batch_size,
        "cpu_s": min(cpu),
        "emulation_s": min(ipu),
        "ratio": statistics.median(b / a for a, b in pairs[1:]),
    }


def _seconds(spec: JobSpec) -> float:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(Path(folder), spec.fingerprint())
        began = time.process_time()
        accelerator = open_accelerator(spec.device, spec, 1)
        fit(spec, accelerator, SilentReporter(), checkpoints, Path(), lambda: None)
        return time.process_time() - began


def main() -> int:
    """Print the table, and return 1 if the emulation takes longer than promised."""
    rounds: int = parser_of(__doc__, ROUNDS).parse_args().rounds
    torch.set_num_threads(1)
    rows = as_measured(compare(normalizer, batch_size, rounds) for normalizer, batch_size in CASES)
    note = (
        "processor seconds of a whole job with opening, evaluation and checkpoint; "
        f"median ratio of {rounds} rounds in turn; target: at most {TARGET}"
    )
    show(NAME, rows, note)
    return int(any(row["ratio"] > TARGET for row in rows))


if __name__ == "__main__":
    sys.exit(main())
