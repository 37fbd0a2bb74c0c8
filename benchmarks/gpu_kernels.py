"""Every normalizer in Triton kernels compared with torch's batch norm on a GPU, eager and recorded.

    python -m benchmarks.gpu_kernels

One row per shape and layer: milliseconds of forward and backward with stock operators and with
kernels, eager and recorded as a graph. Each ratio is to torch's batch norm, which is measured in
the same way and in turn.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from benchmarks.command import as_measured, parser_of, show
from benchmarks.gpu import LAYER_SHAPES, milliseconds
from benchmarks.norms import layers, step_of
from normlab.errors import DeviceUnavailable
from normlab.norms import engine_triton
from normlab.specs.normalizers import BY_KIND

Step = Callable[[], Any]
NATIVE = "torch batch norm"
GOAL = 1.2
WITH_ACTIVATION = {"group + relu": 0.9, "group + proxy relu": 0.9}
_WARM_UP = 3  # steps before a recording, to compile kernels and allocate memory


def main() -> int:
    rounds: int = parser_of(__doc__, rounds=50).parse_args().rounds
    if not torch.cuda.is_available():
        print("skipped: torch sees no GPU here")
        return 0
    try:
        engine_triton.load()
    except DeviceUnavailable as e:
        print(f"skipped: {e}")
        return 0
    versions = f"torch {torch.__version__}, triton {engine_triton.version()}"
    rows = as_measured(row for shape in LAYER_SHAPES for row in rows_for(shape, rounds))
    where = f"{torch.cuda.get_device_name(0)}, {versions}; ratios to torch's batch norm"
    show("gpu-kernels", rows, where)
    return 0


def rows_for(shape: Tuple[int, ...], rounds: int) -> List[Dict[str, Any]]:
    """Measure every layer at *shape* in four ways."""
    x = torch.randn(shape, device="cuda", requires_grad=True)
    g = torch.randn(shape, device="cuda")
    built = {name: layer.cuda() for name, layer in layers(shape).items()}
    ways: Dict[str, List[float]] = {}
    for form in ("stock", "kernels"):
        with engine_triton.triton_kernels(form == "kernels"):
            steps = [step_of(layer, x, g) for layer in built.values()]
            ways[form] = milliseconds(steps, rounds)
            recorded = [_recorded(name, step) for name, step in zip(built, steps)]
            ways[f"{form}, graph"] = _of_some(recorded, rounds)
    text = "x".join(map(str, shape))
    return [{"shape": text, **row} for row in compared(list(built), ways)]


def compared(names: Sequence[str], ways: Dict[str, List[float]]) -> List[Dict[str, Any]]:
    """Return one row per name: times, ratios to the first name, and whether the target is met."""
    rows: List[Dict[str, Any]] = []
    for i, name in enumerate(names):
        row: Dict[str, Any] = {"what": name}
        for way, found in ways.items():
            row[f"{way} ms"], row[f"{way} ratio"] = found[i], found[i] / found[0]
        row["goal"] = None if name == NATIVE else WITH_ACTIVATION.get(name, GOAL)
        ratio = row["kernels, graph ratio"]
        row["met"] = None if row["goal"] is None or ratio != ratio else ratio <= row["goal"]
        rows.append(row)
    return rows


def _recorded(name: str, step: Step) -> Optional[Step]:
    """Record *step* as a graph; None for a kind that cannot be recorded."""
    spec = BY_KIND.get(name.split(",")[0])
    if spec is not None and spec.graph_refusal is not None:
        return None
    with _on_a_side_stream():
        for _ in range(_WARM_UP):
            step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _of_some(steps: Sequence[Optional[Step]], rounds: int) -> List[float]:
    found = iter(milliseconds([step for step in steps if step is not None], rounds))
    return [float("nan") if step is None else next(found) for step in steps]


@contextmanager
def _on_a_side_stream() -> Iterator[None]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


if __name__ == "__main__":
    sys.exit(main())
