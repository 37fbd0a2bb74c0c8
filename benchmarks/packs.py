"""A pack of runs against the same runs one after another, in stock PyTorch, by vmap and by HFTA."""

from __future__ import annotations

import copy
import os
import statistics
import time
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from accelerators import open_accelerator
from benchmarks import peer_hfta, peer_stock, peer_vmap
from benchmarks.command import as_measured, at_least_one, parser_of, show
from normlab.data import Data, load
from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.packs.session import PackSession

NAME = "packs"
RATE = 0.01
SHAPES = ((1, 8), (2, 8), (2, 16), (8, 8), (32, 4), (32, 8))  # batch size and members
LEAST = {(2, 16): 5.0, (32, 4): 1.5}  # times the speed of stock PyTorch, with batch norm
_ROUND_S = 0.15  # of each of the compared trainings

Step = Callable[[], Any]
Timed = Callable[[int], float]
"""Make that many updates; return the processor time per update."""


class _Case(NamedTuple):
    kind: str
    batch: int
    members: int
    dataset: str
    optimizer: str
    hfta: Optional[Path]  # the interpreter that has HFTA


def main() -> int:
    """Measure every kind, and return 1 if a pack gains less than its target."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--kinds", nargs="*", default=list(BY_KIND.own), help="all by default")
    parser.add_argument("--data", default="shapes32", help="such as digits; default: %(default)s")
    parser.add_argument("--batches", nargs="*", type=at_least_one, help="all by default")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    text = "a Python that has HFTA, see docs/packs.md; default: %(default)s"
    parser.add_argument("--hfta", type=Path, default=peer_hfta.PYTHON, help=text)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    shapes = [shape for shape in SHAPES if shape[0] in (chosen.batches or (shape[0],))]
    without_hfta = peer_hfta.reason_against(chosen.hfta)
    how = (chosen.data, chosen.optimizer, None if without_hfta else chosen.hfta)
    cases = [_Case(kind, *shape, *how) for shape in shapes for kind in chosen.kinds]
    rows = as_measured(_row(case, chosen.rounds) for case in cases)
    with_hfta = f"of our kinds it has {', '.join(peer_hfta.KINDS)}"
    note = (
        f"preresnet8 of width 8 on {chosen.data}, {chosen.optimizer}, one thread, processor time; "
        "gain: an update of each run alone as our job, one after another, over an update of the "
        "pack; over stock: an update of each run in torch's own layers with its fused optimizer, "
        f"over an update of the pack; medians of {chosen.rounds} rounds in which they take turns; "
        "at once: our job alone over the processor time of that many processes on one core; over "
        f"stock at least {_wanted()} for batch norm, and no gain below 1; "
        f"HFTA: {without_hfta or with_hfta}; load before "
        f"{load_before:.1f}"
    )
    show(NAME, rows, note)
    return int(any(falls_short(row) for row in rows))


def falls_short(row: Dict[str, Any]) -> bool:
    """Return whether a pack is slower than our jobs alone, or gains too little over PyTorch."""
    over_stock = row["over stock"]
    wanted = LEAST.get((row["batch"], row["members"]), 1.0)
    return row["gain"] < 1 or (over_stock is not None and over_stock < wanted)


def _wanted() -> str:
    return ", ".join(f"{gain:g} at batch {b} with {s}" for (b, s), gain in LEAST.items())


def _row(case: _Case, rounds: int) -> Dict[str, Any]:
    specs = [_spec(case, seed) for seed in range(case.members)]
    data = load(specs[0].dataset, Path())
    nets = [_net(spec, data) for spec in specs]
    with ExitStack() as stack:
        found = _by_turns(_sides(case, nets, specs, data, stack), rounds)
    peers = {"gain": "pack", "vmap's gain": "vmap", "HFTA's gain": "HFTA"}
    alone_s = statistics.median(found["alone"])
    stock = found.get("stock")
    return {
        "kind": case.kind,
        "batch": case.batch,
        "members": case.members,
        **{f"{name} ms": 1000 * statistics.median(found[name]) for name in ("alone", "pack")},
        "stock ms": None if stock is None else 1000 * statistics.median(stock),
        "over stock": None if stock is None else _gain(stock, found["pack"], case.members),
        **{title: _gain(found["alone"], found.get(name), case.members)
           for title, name in peers.items()},
        "at once": case.members * alone_s / _at_once_s(specs),
    }  # fmt: skip


def _sides(
    case: _Case, nets: List[nn.Module], specs: List[JobSpec], data: Data, stack: ExitStack
) -> Dict[str, Timed]:
    xs, ys = zip(*(_batch(spec, data) for spec in specs))
    x, y = torch.stack(xs), torch.stack(ys)
    packed = _packed(nets, x, y, specs)
    first = torch.stack([packed() for _ in range(peer_hfta.FIRST)])
    sides: Dict[str, Timed] = {
        "alone": partial(_seconds, _alone(copy.deepcopy(nets[0]), specs[0], data, stack)),
        "pack": partial(_seconds, packed),
    }
    how = {"optimizer": case.optimizer, "rate": RATE}
    if case.kind in peer_stock.KINDS:
        theirs = [peer_stock.stock(_net(s, data), *own, **how) for s, *own in zip(specs, xs, ys)]
        losses = torch.stack([torch.stack([one() for one in theirs]) for _ in first])
        torch.testing.assert_close(losses, first, rtol=1e-3, atol=0)  # it trains the same
        sides["stock"] = partial(_seconds, theirs[0])
    if case.kind not in peer_vmap.WITHOUT:
        others = [_net(spec, data) for spec in specs]
        sides["vmap"] = partial(_seconds, peer_vmap.mapped(others, x, y, **how))
    if case.hfta is not None and case.kind in peer_hfta.KINDS:
        fused = stack.enter_context(peer_hfta.fused(case.hfta, nets, x, y, **how))
        torch.testing.assert_close(fused.losses, first, rtol=1e-3, atol=0)  # it trains the same
        sides["HFTA"] = fused.seconds
    return sides


def _gain(alone: List[float], other: Optional[List[float]], members: int) -> Any:
    if other is None:
        return None
    return statistics.median(members * a / b for a, b in zip(alone, other))


def _spec(case: _Case, seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": case.kind,
            "batch_size": case.batch,
            "seed": seed,
            "dataset": {"name": case.dataset, "train_size": 256, "test_size": 64},
            "optimizer": {"name": case.optimizer},
        }
    )


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
    """Return the processor time per update of *specs*, each in its own process, all at once."""
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
        meeting.wait(600)  # so that it ends if the benchmark is interrupted
        found.put(_seconds(step, times))


def _packed(
    nets: Sequence[nn.Module], x: Tensor, y: Tensor, specs: Sequence[JobSpec]
) -> Callable[[], Tensor]:
    session = PackSession(nets, specs)

    def step() -> Tensor:
        session.prepare([RATE] * len(specs), 0.1)
        return session.train(x, y).losses

    return step


def _by_turns(sides: Dict[str, Timed], rounds: int) -> Dict[str, List[float]]:
    times = {name: max(1, round(_ROUND_S / seconds(2))) for name, seconds in sides.items()}
    found: Dict[str, List[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, seconds in sides.items():
            found[name].append(seconds(times[name]))
    return found


def _seconds(step: Step, times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - began) / times


if __name__ == "__main__":
    raise SystemExit(main())
