"""Tables and times of a study of 3 normalizers x 3 batch sizes x seeds, with and without packs."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List

from benchmarks.command import at_least_one, parser_of, show
from benchmarks.submit_to_done import fresh_stack
from normlab.client import Client

NAME = "packed_study"
BASE: Dict[str, Any] = {
    "dataset": {"name": "digits"},
    "threads": 1,
    "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9},
    "device": "cpu",
}
AXES = [{"normalizer": ["batch", "group", "layer"]}, {"batch_size": [2, 8, 32]}]


def main() -> int:
    """Run both, and return 1 if two means differ by more than their intervals allow."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=at_least_one, default=16, help="%(default)s by default")
    parser.add_argument("--slots", type=at_least_one, default=2, help="%(default)s by default")
    parser.add_argument("--epochs", type=at_least_one, default=1, help="%(default)s by default")
    chosen = parser.parse_args()
    load_before = os.getloadavg()[0]
    with fresh_stack(slots=str(chosen.slots)) as client:
        tables, seconds = {}, {}
        for pack in ("auto", "off"):
            begun = time.perf_counter()
            tables[pack] = _run(client, pack, chosen.seeds, chosen.epochs)
            seconds[pack] = time.perf_counter() - begun
    rows = [_row(*pair) for pair in zip(tables["off"], tables["auto"])]
    note = (
        f"val/accuracy, mean and 95% interval over {chosen.seeds} seeds, {chosen.epochs} epochs, "
        f"{chosen.slots} slots; {seconds['off']:.0f} s without packs, {seconds['auto']:.0f} s "
        f"with them, {seconds['off'] / seconds['auto']:.1f} times; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(not all(row["same"] for row in rows))


def _run(client: Client, pack: str, seeds: int, epochs: int) -> List[Any]:
    asked = {
        "name": f"pack: {pack}",
        "base": {**BASE, "epochs": epochs},
        "axes": AXES,
        "seeds": seeds,
        "pack": pack,
        "reuse": False,
    }
    study = client.studies.create(asked)
    ended = client.studies.wait(study.id)
    if ended.state != "complete":
        raise SystemExit(f"the study is {ended.state}: {ended.counts}")
    return list(client.studies.results(study.id).rows)


def _row(alone: Any, packed: Any) -> Dict[str, Any]:
    apart = abs(alone.mean - packed.mean)
    half = sum((row.high - row.low) / 2 for row in (alone, packed))
    return {
        **{path: str(value) for path, value in alone.coordinates.items()},
        "alone": f"{alone.mean:.4f} ± {(alone.high - alone.low) / 2:.4f}",
        "packed": f"{packed.mean:.4f} ± {(packed.high - packed.low) / 2:.4f}",
        "same": apart <= half,
    }


if __name__ == "__main__":
    raise SystemExit(main())
