"""Final accuracies of many seeds in packs and alone: is the mean difference close to zero?"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, Dict

from benchmarks.command import as_measured, at_least_one, parser_of, show
from benchmarks.pack_runs import alone, together
from normlab.specs.jobs import JobSpec

NAME = "pack_equivalence"
KINDS = ("batch", "group", "layer", "online", "switchable", "meta", "topk_batch")
MARGIN = 0.005  # of a mean difference: a tenth of an effect in studies of normalizers
_Z = 1.645  # two one-sided tests at 5%


def main() -> int:
    """Compare each kind, and return 1 unless all are equivalent."""
    parser = parser_of(__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--seeds", type=at_least_one, default=100, help="%(default)s by default")
    parser.add_argument("--members", type=at_least_one, default=20, help="members: %(default)s")
    parser.add_argument("--epochs", type=at_least_one, default=2, help="%(default)s by default")
    parser.add_argument("--data", default="digits", help="such as shapes32; %(default)s by default")
    parser.add_argument("--batch-size", type=at_least_one, default=8, help="%(default)s by default")
    chosen = parser.parse_args()
    how = {"dataset": chosen.data, "batch_size": chosen.batch_size, "epochs": chosen.epochs}
    rows = as_measured(_row(kind, chosen.seeds, chosen.members, how) for kind in chosen.kinds)
    note = (
        f"val/accuracy of preresnet8 (width 4) on 480 samples of {chosen.data}, "
        f"batch {chosen.batch_size}, {chosen.epochs} epochs, "
        f"{chosen.seeds} seeds, alone and in packs of {chosen.members}, float32; equivalent: the "
        f"90% interval of the mean paired difference lies within {MARGIN:g} of 0 (two one-sided "
        f"tests at 5%); load {os.getloadavg()[0]:.1f}"
    )
    show(NAME, rows, note)
    return int(not all(row["equivalent"] for row in rows))


def _row(kind: str, seeds: int, members: int, how: Dict[str, Any]) -> Dict[str, Any]:
    specs = [_spec(kind, seed, **how) for seed in range(seeds)]
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        single = [one.accuracy for one in alone(specs, Path(folder))]
        parts = [specs[i : i + members] for i in range(0, seeds, members)]
        packed = [one.accuracy for part in parts for one in together(part, Path(folder))]
    differences = [b - a for a, b in zip(single, packed)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(seeds)
    return {
        "kind": kind,
        "alone": statistics.fmean(single),
        "packed": statistics.fmean(packed),
        "sd over seeds": statistics.stdev(single),
        "equal to the sample": sum(d == 0 for d in differences),
        "mean difference": mean,
        "90% half width": _Z * error,
        "equivalent": abs(mean) + _Z * error < MARGIN,
    }


def _spec(kind: str, seed: int, dataset: str, batch_size: int, epochs: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": kind,
            "model": {"name": "preresnet8", "width": 4},
            "dataset": {"name": dataset, "train_size": 480},
            "batch_size": batch_size,
            "epochs": epochs,
            "evaluate_every": epochs,
            "optimizer": {"lr": 0.05},
            "device": "cpu",
            "checkpoint": {"every_s": 86_400},
            "seed": seed,
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
