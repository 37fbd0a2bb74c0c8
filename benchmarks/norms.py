"""Every normalizer compared with torch's batch norm: forward and backward, interleaved in one run.

One row per form (stock operators, compiled loops), shape and layer: milliseconds and ratio to
torch's batch norm with one thread and with two, the memory saved for backward in multiples of the
input, the target ratio, and whether it is met.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from accelerators.small_updates import keep_freed_memory
from benchmarks.command import as_measured, parser_of, show
from normlab.errors import DeviceUnavailable
from normlab.norms import LAYERS, load_fused_kernels, make, unload_fused_kernels

Shape = Tuple[int, ...]

SHAPES: Dict[Shape, int] = {(32, 64, 32, 32): 11, (2, 256, 14, 14): 101, (128, 512): 101}
GROUP = {"kind": "group", "groups": 32}
OPTIONS: Dict[str, Any] = {"group": GROUP}
EXTRA: Dict[str, Any] = {
    "batch, 2 samples each": {"kind": "batch", "virtual_batch_size": 2},
    "group, strided": {**GROUP, "grouping": "strided"},
    "online, clamp": {"kind": "online", "error_compensation": "clamp"},
    "online, none": {"kind": "online", "error_compensation": "none"},
    "meta, batch": {"kind": "meta", "samples": "batch", "channels": "own"},
}
OVER_POSITIONS = ("instance", "filter_response")
OWN_ACTIVATION = {
    "evonorm_s0": "relu"
}  # measured with its activation, because the kind has no form without it
LIMIT_S = 45.0  # limit for all rounds of one form, shape and number of threads
NOT_ENGINE = {
    "l1_batch": 1.5,
    "linf_batch": 3.0,
    "topk_batch": 3.0,
    "dyt": 3.0,
    "evonorm_s0": 6.0,
}


def limit(name: str, shape: Shape) -> Optional[float]:
    """Return the target ratio, if there is one."""
    kind = name.split(",")[0]
    if shape == (128, 512):
        return 5.0 if name == "meta" else 3.0
    if shape == (32, 64, 32, 32):
        return NOT_ENGINE.get(kind, 1.2)
    return None if kind in ("dyt", "evonorm_s0") else 2.0


def layers(shape: Shape) -> Dict[str, nn.Module]:
    """Build the layers: torch's batch norm first, then every kind that accepts the shape."""
    channels, dims = shape[1], max(len(shape) - 2, 1)
    native = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    specs = {k: OPTIONS.get(k, k) for k in LAYERS}
    if len(shape) == 2:
        specs = {kind: spec for kind, spec in specs.items() if kind not in OVER_POSITIONS}
    built: Dict[str, nn.Module] = {"torch batch norm": native(channels)}
    for name, spec in {**specs, **EXTRA}.items():
        built[name] = make(spec, channels, OWN_ACTIVATION.get(name), dims)
    built["group + relu"] = make(GROUP, channels, "relu", dims)
    built["group + proxy relu"] = make({**GROUP, "proxy": True}, channels, "relu", dims)
    return built


def step_of(layer: nn.Module, x: Tensor, g: Tensor) -> Callable[[], None]:
    """Return a training step of only *layer*: forward and backward, without keeping gradients."""

    def step() -> None:
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x).backward(g)

    return step


def measure(steps: Sequence[Callable[[], None]], rounds: int, threads: int) -> List[float]:
    """
    Return the median seconds of each step, run in turn; CPU time for one thread.

    On a slow or crowded machine the rounds end early, but not before the third.
    """
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: List[List[float]] = [[] for _ in steps]
    end = time.monotonic() + LIMIT_S
    for i in range(rounds + 2):
        if i >= 5 and time.monotonic() > end:
            break
        for step, found in zip(steps, times):
            began = clock()
            step()
            if i >= 2:
                found.append(clock() - began)
    return [statistics.median(found) for found in times]


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Return the bytes kept for the backward pass, without parameters and buffers."""
    own = {t.untyped_storage().data_ptr() for t in [*layer.parameters(), *layer.buffers()]}
    kept: Dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = layer(x)
    y.sum().backward()
    return sum(kept.values())


def rows_for(shape: Shape, rounds: int, threads: Sequence[int]) -> List[Dict[str, Any]]:
    """Measure every layer at *shape*, one row per layer."""
    torch.manual_seed(0)
    x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
    built = layers(shape)
    rows: List[Dict[str, Any]] = [{"shape": "x".join(map(str, shape)), "what": n} for n in built]
    steps = [step_of(layer, x, g) for layer in built.values()]
    for count in threads:
        seconds = measure(steps, rounds, count)
        for row, s in zip(rows, seconds):
            row[f"ms_{count}t"] = round(s * 1e3, 3)
            row[f"ratio_{count}t"] = round(s / seconds[0], 2)
    for row, layer in zip(rows, built.values()):
        row["saved_inputs"] = round(saved_bytes(layer, x) / (x.numel() * x.element_size()), 2)
    _judge(rows, shape)
    return rows


def _judge(rows: List[Dict[str, Any]], shape: Shape) -> None:
    by_name = {row["what"]: row for row in rows}
    for name, row in by_name.items():
        if name == "group + proxy relu" and shape == (32, 64, 32, 32):
            target: Optional[float] = round(1.6 * by_name["group + relu"]["ratio_1t"], 2)
        elif name in ("torch batch norm", "group + relu", "group + proxy relu"):
            target = None
        else:
            target = limit(name, shape)
        row["limit"] = target
        row["met"] = None if target is None else row["ratio_1t"] <= target


def _threads(quick: bool) -> List[int]:
    # Two threads that share a core only measure their waiting.
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return [1] if quick or cores < 2 else [1, 2]


def _switch(form: str) -> bool:
    """Use stock operators or the compiled loops; return whether this machine supports them."""
    unload_fused_kernels()
    if form == "stock":
        return True
    try:
        load_fused_kernels()
    except DeviceUnavailable:
        return False
    return True


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, one thread")
    parser.add_argument("--stock", action="store_true", help="skip the compiled loops")
    args = parser.parse_args()
    quick = args.quick
    keep_freed_memory()  # as in a job, because new memory pages cost as much as a small layer
    forms = ["stock"] if args.stock else ["stock", "compiled"]
    threads = _threads(quick)
    rows = []
    for shape, rounds in SHAPES.items():
        for form in forms:
            if _switch(form):
                found = rows_for(shape, 3 if quick else rounds, threads)
                rows += as_measured({"form": form, **row} for row in found)
    show("norms", rows, _note(rows, threads))


def _note(rows: List[Dict[str, Any]], threads: Sequence[int]) -> str:
    lines = ["ratio to torch's batch norm; 1 thread in CPU time, 2 threads in wall time"]
    if 2 not in threads:
        lines.append("2 threads skipped: --quick, or this process may use only one core")
    for form in dict.fromkeys(row["form"] for row in rows):
        missed = [r for r in rows if r["form"] == form and r["met"] is False]
        text = ", ".join(f"{r['what']} at {r['shape']} ({r['ratio_1t']})" for r in missed)
        lines.append(f"over the limit, {form}: {text or 'none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
