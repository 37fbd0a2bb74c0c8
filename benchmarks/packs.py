"""A pack of runs against the same runs one after another, and against vmap over their networks."""

from __future__ import annotations

import copy
import os
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from accelerators.torch_session import TorchSession
from benchmarks.options import parser_of
from benchmarks.table import show
from normlab.data import Data, load
from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.packs.session import PackSession

NAME = "packs"
RATE = 0.01
SHAPES = ((2, 8), (2, 16), (8, 8), (32, 4))  # batch size and members
LEAST = {(2, 16): 5.0, (32, 4): 1.5}  # of batch norm's gain
WITHOUT_VMAP = ("online", "streaming")  # whose backward pass changes state
_ROUND_S = 0.15  # of one of those that are compared

Step = Callable[[], Any]


def main() -> int:
    """Measure every kind, and return 1 where batch norm gains less than it should."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--kinds", nargs="*", default=list(BY_KIND.own), help="all by default")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    rows = [_row(kind, *shape, chosen.rounds) for shape in SHAPES for kind in chosen.kinds]
    note = (
        "preresnet8 of width 8 on 32x32 images, one thread, processor time; gain: an update of "
        "each run alone, one after another, over an update of the pack, medians of "
        f"{chosen.rounds} rounds in which they take turns; at least "
        f"{', '.join(f'{gain:g} at batch {b} with {s}' for (b, s), gain in LEAST.items())} for "
        f"batch norm, and never below 1; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["gain"] < _least(row) for row in rows))


def _least(row: Dict[str, Any]) -> float:
    wanted = LEAST.get((row["batch"], row["members"]), 1.0)
    return wanted if row["kind"] == "batch" else 1.0


def _row(kind: str, batch: int, members: int, rounds: int) -> Dict[str, Any]:
    specs = [_spec(kind, batch, seed) for seed in range(members)]
    data = load(specs[0].dataset, Path())
    nets = [_net(spec, data) for spec in specs]
    steps: Dict[str, Step] = {
        "alone": _alone(copy.deepcopy(nets[0]), specs[0], data),
        "pack": _packed(nets, specs, data),
    }
    if kind not in WITHOUT_VMAP:
        steps["vmap"] = _mapped([_net(spec, data) for spec in specs], specs, data)
    found = _by_turns(steps, rounds)
    gains = {name: _gain(found["alone"], found.get(name), members) for name in ("pack", "vmap")}
    return {
        "kind": kind,
        "batch": batch,
        "members": members,
        **{f"{name} ms": 1000 * statistics.median(found[name]) for name in ("alone", "pack")},
        "gain": gains["pack"],
        "vmap's gain": gains["vmap"],
    }


def _gain(alone: List[float], other: Optional[List[float]], members: int) -> Any:
    if other is None:
        return None
    return statistics.median(members * a / b for a, b in zip(alone, other))


def _spec(kind: str, batch: int, seed: int) -> JobSpec:
    fields = {"dataset": {"name": "shapes32", "train_size": 256, "test_size": 64}}
    return JobSpec.model_validate({"normalizer": kind, "batch_size": batch, "seed": seed, **fields})


def _net(spec: JobSpec, data: Data) -> nn.Module:
    torch.manual_seed(spec.seed)
    size = (data.channels, data.num_classes, data.image_size)
    return build(spec.model, spec.normalizer, *size)


def _batch(spec: JobSpec, data: Data) -> Tuple[Tensor, Tensor]:
    size = spec.samples_per_update
    return EpochBatches(data, size, Augmenting(), spec.seed, 0)[0]


def _alone(net: nn.Module, spec: JobSpec, data: Data) -> Step:
    session = TorchSession(net, spec, torch.device("cpu"))
    x, y = _batch(spec, data)

    def step() -> None:
        session.prepare(RATE, 0.1)
        session.train(x, y)

    return step


def _packed(nets: Sequence[nn.Module], specs: Sequence[JobSpec], data: Data) -> Step:
    session = PackSession(nets, specs)
    xs, ys = zip(*(_batch(spec, data) for spec in specs))
    x, y = torch.stack(xs), torch.stack(ys)

    def step() -> None:
        session.prepare([RATE] * len(specs), 0.1)
        session.train(x, y)

    return step


def _mapped(nets: Sequence[nn.Module], specs: Sequence[JobSpec], data: Data) -> Step:
    parameters, buffers = stack_module_state(list(nets))
    xs, ys = zip(*(_batch(spec, data) for spec in specs))
    x, y = torch.stack(xs), torch.stack(ys)
    optimizer = torch.optim.SGD(list(parameters.values()), RATE, momentum=0.9, fused=True)
    one = vmap(lambda p, b, x, y: F.cross_entropy(functional_call(nets[0], (p, b), (x,)), y))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        one(parameters, buffers, x, y).sum().backward()
        optimizer.step()

    return step


def _by_turns(steps: Dict[str, Step], rounds: int) -> Dict[str, List[float]]:
    times = {name: max(1, round(_ROUND_S / _seconds(step, 2))) for name, step in steps.items()}
    found: Dict[str, List[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(_seconds(step, times[name]))
    return found


def _seconds(step: Step, times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - began) / times


if __name__ == "__main__":
    raise SystemExit(main())
