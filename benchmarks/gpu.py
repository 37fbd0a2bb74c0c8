"""Steps on a GPU compared with a peer in one run: layers, Online Norm, graphs, precisions.

    python -m benchmarks.gpu

It prints four tables: forward and backward of every normalizer compared with torch's batch norm;
Online Norm in one pass compared with the same layer in a loop over samples; an update as a CUDA
graph and a compiled update compared with the eager one; half precision and TF32 compared with
float32.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import product
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch

from accelerators import open_accelerator
from benchmarks.command import parser_of, show
from benchmarks.norms import layers, step_of
from normlab.errors import JobError
from normlab.nets import build
from normlab.norms import make
from normlab.specs.jobs import JobSpec

LAYER_SHAPES = ((256, 64, 32, 32), (2, 256, 14, 14))
ONLINE_SHAPES = ((32, 64, 32, 32), (128, 16, 16, 16))
SMALL_BATCHES = (2,)
SMALL_NETS = ("preresnet8", "resnet20")
SMALL_KINDS: Dict[str, Any] = {
    "batch": "batch",
    "group + proxy": {"kind": "group", "groups": 4, "proxy": True},
}
ACCELERATIONS = ("cuda_graphs", "compile")
PRECISIONS: Dict[str, Dict[str, Any]] = {
    "float32": {},
    "TF32": {"tf32": True},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
}
LARGE: Dict[str, Any] = {"model": {"name": "resnet50"}, "batch_size": 256}
WARM_UP = 5  # the first steps are eager, then one is recorded

Step = Callable[[], Any]


def main() -> int:
    rounds: int = parser_of(__doc__, rounds=50).parse_args().rounds
    if not torch.cuda.is_available():
        print("torch sees no GPU here", file=sys.stderr)
        return 1
    where = f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    show("gpu-layers", [row for s in LAYER_SHAPES for row in _layers(s, rounds)], where)
    show("gpu-online", [_online(s, rounds // 5) for s in ONLINE_SHAPES], where)
    show("gpu-small-batches", _small_batches(rounds), f"milliseconds per update; {where}")
    show("gpu-precisions", _precisions(rounds // 2), f"resnet50 on 256 images of 32x32; {where}")
    return 0


def milliseconds(steps: Sequence[Step], rounds: int) -> List[float]:
    """Return the median time of each step, until the device has finished; the steps run in turn."""
    times: List[List[float]] = [[] for _ in steps]
    for i in range(rounds + WARM_UP):
        for step, found in zip(steps, times):
            torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            torch.cuda.synchronize()
            if i >= WARM_UP:
                found.append((time.perf_counter() - began) * 1e3)
    return [statistics.median(found) for found in times]


def _layers(shape: Tuple[int, ...], rounds: int) -> List[Dict[str, Any]]:
    torch.manual_seed(0)
    x, g = torch.randn(shape, device="cuda", requires_grad=True), torch.randn(shape, device="cuda")
    built = {name: layer.cuda() for name, layer in layers(shape).items()}
    found = milliseconds([step_of(layer, x, g) for layer in built.values()], rounds)
    return [
        {"shape": _text(shape), "what": name, "ms": ms, "ratio": ms / found[0]}
        for name, ms in zip(built, found)
    ]


def _online(shape: Tuple[int, ...], rounds: int) -> Dict[str, Any]:
    torch.manual_seed(0)
    x, g = torch.randn(shape, device="cuda", requires_grad=True), torch.randn(shape, device="cuda")
    layer = make("online", shape[1]).cuda()

    def loop() -> None:
        for one, gradient in zip(x.split(1), g.split(1)):
            layer(one).backward(gradient)

    once, looped = milliseconds([step_of(layer, x, g), loop], rounds)
    return {"shape": _text(shape), "ms": once, "loop ms": looped, "loop / ours": looped / once}


def _small_batches(rounds: int) -> List[Dict[str, Any]]:
    rows: List[Dict[str, Any]] = []
    for net, batch_size, kind in product(SMALL_NETS, SMALL_BATCHES, SMALL_KINDS):
        fields = {"model": {"name": net}, "normalizer": SMALL_KINDS[kind]}
        eager = _update_ms(rounds, batch_size=batch_size, **fields)
        row = {"net": net, "batch_size": batch_size, "normalizer": kind, "eager ms": eager}
        for how in ACCELERATIONS:
            ms = _update_ms(rounds, batch_size=batch_size, acceleration=how, **fields)
            row.update({f"{how} ms": ms, f"eager / {how}": eager / ms})
        rows.append(row)
    return rows


def _precisions(rounds: int) -> List[Dict[str, Any]]:
    rows: List[Dict[str, Any]] = []
    for kind in ("batch", "group"):
        alone = 0.0
        for name, fields in PRECISIONS.items():
            ms = _update_ms(rounds, normalizer=kind, deterministic=False, **LARGE, **fields)
            alone = alone or ms
            speed = LARGE["batch_size"] / ms * 1e3
            row = {"normalizer": kind, "precision": name, "ms": ms, "images/s": speed}
            rows.append({**row, "float32 / this": alone / ms})
    return rows


def _update_ms(rounds: int, **fields: Any) -> float:
    """Return the median milliseconds of an update of a job with *fields*."""
    spec = JobSpec.model_validate({"dataset": {"name": "shapes32"}, "device": "cuda", **fields})
    torch.manual_seed(0)
    model = build(spec.model, spec.normalizer, 3, 16, 32)
    x = torch.randn(spec.batch_size, 3, 32, 32)
    y = torch.arange(spec.batch_size) % 16
    try:
        with open_accelerator("cuda", spec).session(model, spec) as session:
            x, y = session.place(x), session.place(y)
            session.prepare(0.01, 0.0)
            return milliseconds([lambda: session.train(x, y)], rounds)[0]
    except JobError as e:
        print(f"{spec.model.name} {fields}: {e}", file=sys.stderr)
        return float("nan")


def _text(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    sys.exit(main())
