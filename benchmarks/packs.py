"""A pack of runs against the same runs one after another, at once, and mapped by vmap."""

from __future__ import annotations

import copy
import os
import statistics
import time
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from accelerators import open_accelerator
from benchmarks.options import at_least_one, parser_of
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
SHAPES = ((1, 8), (2, 8), (2, 16), (8, 8), (32, 4))  # batch size and members
LEAST = {(2, 16): 5.0, (32, 4): 1.5}  # of batch norm's gain
WITHOUT_VMAP = ("online", "streaming")  # whose backward pass changes state
_ROUND_S = 0.15  # of one of those that are compared

Step = Callable[[], Any]


def main() -> int:
    """Measure every kind, and return 1 where batch norm gains less than it should."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--kinds", nargs="*", default=list(BY_KIND.own), help="all by default")
    parser.add_argument("--data", default="shapes32", help="such as digits; %(default)s by default")
    parser.add_argument("--batches", nargs="*", type=at_least_one, help="all by default")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    shapes = [shape for shape in SHAPES if shape[0] in (chosen.batches or (shape[0],))]
    rows = [
        _row(kind, *shape, chosen.data, chosen.rounds) for shape in shapes for kind in chosen.kinds
    ]
    note = (
        f"preresnet8 of width 8 on {chosen.data}, one thread, processor time; gain: an update of "
        "each run alone, one after another, over an update of the pack, medians of "
        f"{chosen.rounds} rounds in which they take turns; at once: the same over the processor "
        "time of that many processes on one core; at least "
        f"{', '.join(f'{gain:g} at batch {b} with {s}' for (b, s), gain in LEAST.items())} for "
        f"batch norm, and never below 1; load before {load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(row["gain"] < _least(row) for row in rows))


def _least(row: Dict[str, Any]) -> float:
    wanted = LEAST.get((row["batch"], row["members"]), 1.0)
    return wanted if row["kind"] == "batch" else 1.0


def _row(kind: str, batch: int, members: int, dataset: str, rounds: int) -> Dict[str, Any]:
    specs = [_spec(kind, batch, seed, dataset) for seed in range(members)]
    data = load(specs[0].dataset, Path())
    nets = [_net(spec, data) for spec in specs]
    with ExitStack() as stack:
        steps: Dict[str, Step] = {
            "alone": _alone(copy.deepcopy(nets[0]), specs[0], data, stack),
            "pack": _packed(nets, specs, data),
        }
        if kind not in WITHOUT_VMAP:
            steps["vmap"] = _mapped([_net(spec, data) for spec in specs], specs, data)
        found = _by_turns(steps, rounds)
    gains = {name: _gain(found["alone"], found.get(name), members) for name in ("pack", "vmap")}
    alone_s = statistics.median(found["alone"])
    return {
        "kind": kind,
        "batch": batch,
        "members": members,
        **{f"{name} ms": 1000 * statistics.median(found[name]) for name in ("alone", "pack")},
        "gain": gains["pack"],
        "vmap's gain": gains["vmap"],
        "at once": members * alone_s / _at_once_s(specs),
    }


def _gain(alone: List[float], other: Optional[List[float]], members: int) -> Any:
    if other is None:
        return None
    return statistics.median(members * a / b for a, b in zip(alone, other))


def _spec(kind: str, batch: int, seed: int, dataset: str) -> JobSpec:
    fields = {"dataset": {"name": dataset, "train_size": 256, "test_size": 64}}
    return JobSpec.model_validate({"normalizer": kind, "batch_size": batch, "seed": seed, **fields})


def _net(spec: JobSpec, data: Data) -> nn.Module:
    torch.manual_seed(spec.seed)
    size = (data.channels, data.num_classes, data.image_size)
    return build(spec.model, spec.normalizer, *size)


def _batch(spec: JobSpec, data: Data) -> Tuple[Tensor, Tensor]:
    size = spec.samples_per_update
    return EpochBatches(data, size, Augmenting(), spec.seed, 0)[0]


def _alone(net: nn.Module, spec: JobSpec, data: Data, stack: ExitStack) -> Step:
    session = stack.enter_context(open_accelerator("cpu", spec, 1).session(net, spec))
    x, y = _batch(spec, data)

    def step() -> None:
        session.prepare(RATE, 0.1)
        session.train(x, y)

    return step


def _at_once_s(specs: Sequence[JobSpec]) -> float:
    """Return the processor time of one update of each of *specs*, in as many processes at once."""
    context = get_context("fork")
    meeting, found = context.Barrier(len(specs)), context.SimpleQueue()
    processes = [
        context.Process(target=_one_of_many, args=(spec, meeting, found)) for spec in specs
    ]
    for process in processes:
        process.start()
    each = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(each)


def _one_of_many(spec: JobSpec, meeting: Any, found: Any) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    data = load(spec.dataset, Path())
    with ExitStack() as stack:
        step = _alone(_net(spec, data), spec, data, stack)
        times = max(2, round(_ROUND_S / _seconds(step, 2)))
        meeting.wait(600)  # not for ever, if the benchmark was interrupted
        found.put(_seconds(step, times))


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
