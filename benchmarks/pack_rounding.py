"""Is it rounding? Compares trainings in packs with trainings alone, and with one changed bit."""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Sequence

from benchmarks.command import as_measured, at_least_one, parser_of, show
from benchmarks.pack_runs import Trained, alone, in_float64, one_bit_changed, together
from benchmarks.packed_study import BASE
from normlab.specs.jobs import JobSpec

NAME = "pack_rounding"
KINDS = ("batch", "group", "layer")
BATCHES = (2, 8, 32)
APART = 1e-6  # difference of a loss in float64
FIRST = 5  # updates, in which rounding errors have hardly grown
SAME = 1e-12  # of their losses in float64
SOONER = 0.5  # a pack rounds everywhere, so it may be apart after half the updates

Train = Callable[[Sequence[JobSpec], Path], List[Trained]]


def main() -> int:
    """Compare each cell of the study, and return 1 unless rounding explains all differences."""
    parser = parser_of(__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--batches", nargs="*", type=at_least_one, default=list(BATCHES))
    parser.add_argument("--seeds", type=at_least_one, default=4, help="%(default)s by default")
    parser.add_argument("--epochs", type=at_least_one, default=1, help="%(default)s by default")
    chosen = parser.parse_args()
    rows = as_measured(
        _row([_spec(kind, batch, seed, chosen.epochs) for seed in range(chosen.seeds)])
        for batch in chosen.batches
        for kind in chosen.kinds
    )
    note = (
        f"digits, {chosen.seeds} seeds, {chosen.epochs} epochs; float32: mean val/accuracy alone, "
        "and its distance to that in a pack, and to that alone with another last bit in a weight "
        f"at the start; float64: losses of the first {FIRST} updates, in how many updates a loss "
        f"is {APART:g} apart, and how many accuracies are equal; rounding: the first losses agree "
        f"to {SAME:g}, and the pack is not apart in less than {SOONER:g} of the updates that one "
        f"bit takes; load {os.getloadavg()[0]:.1f}"
    )
    show(NAME, rows, note)
    return int(not all(row["rounding"] for row in rows))


def _row(specs: Sequence[JobSpec]) -> Dict[str, Any]:
    single, packed = _train(alone, specs), _train(together, specs)
    changed = _train(alone, specs, one_bit_changed())
    exact, exactly_packed = (
        _train(alone, specs, in_float64()),
        _train(together, specs, in_float64()),
    )
    exactly_changed = _train(alone, specs, in_float64(), one_bit_changed())
    first = max(max(_apart(a, b)[:FIRST]) for a, b in zip(exact, exactly_packed))
    soon, by_a_bit = _updates(exact, exactly_packed), _updates(exact, exactly_changed)
    return {
        "kind": specs[0].normalizer.kind,
        "batch": specs[0].batch_size,
        "alone": _mean(single),
        "packed": _mean(packed) - _mean(single),
        "one bit": _mean(changed) - _mean(single),
        "float64: first": first,
        "packed apart in": soon,
        "one bit in": by_a_bit,
        "of": len(exact[0].losses),
        "equal, packed": _equal(exact, exactly_packed),
        "equal, one bit": _equal(exact, exactly_changed),
        "rounding": first < SAME and soon >= SOONER * by_a_bit,
    }


def _train(how: Train, specs: Sequence[JobSpec], *contexts: ContextManager[None]) -> List[Trained]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-bench-"))
        for context in contexts:
            stack.enter_context(context)
        return how(specs, Path(folder))


def _spec(kind: str, batch_size: int, seed: int, epochs: int) -> JobSpec:
    fields = {"normalizer": kind, "batch_size": batch_size, "seed": seed, "epochs": epochs}
    return JobSpec.model_validate({**BASE, **fields})


def _mean(trained: Sequence[Trained]) -> float:
    return statistics.fmean(one.accuracy for one in trained)


def _apart(a: Trained, b: Trained) -> List[float]:
    return [abs(x - y) for x, y in zip(a.losses, b.losses)]


def _updates(some: Sequence[Trained], others: Sequence[Trained]) -> float:
    """Return after how many updates the losses are apart, as the median over the seeds."""
    return statistics.median(
        next((i for i, apart in enumerate(_apart(a, b)) if apart > APART), len(a.losses))
        for a, b in zip(some, others)
    )


def _equal(some: Sequence[Trained], others: Sequence[Trained]) -> int:
    return sum(a.accuracy == b.accuracy for a, b in zip(some, others))


if __name__ == "__main__":
    raise SystemExit(main())
