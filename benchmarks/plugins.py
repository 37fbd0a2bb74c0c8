"""The cost of plugins: a layer on the engine, the start of a stack with 20, a submission."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import nn

import normlab
from benchmarks.command import as_measured, parser_of, show
from normlab.norms import make
from service.servers.launcher import launch
from service.settings import Settings

NAME = "plugins"
PLUGINS = 20
LAYER_TARGET, START_TARGET_S, SUBMIT_TARGET = 1.1, 0.2, 1.1
SHAPES = ((32, 64, 32, 32), (2, 256, 14, 14))
SUBMITS = 30
_TEXT = """
import torch
import normlab

@normlab.normalizer("own_{0}")
class Own(torch.nn.Module):
    def __init__(self, num_features: int, strength: float = 0.5):
        super().__init__()
"""
Row = dict[str, Any]


@normlab.normalizer("rms_of_ones_own", batch_independent=True)
def root_mean_square(mean: torch.Tensor, var: torch.Tensor, *, eps: float = 1e-5) -> Any:
    """The same as our own kind `rms`."""
    scale = (var + mean.square()).mean(1, keepdim=True).add(eps).rsqrt()
    return scale, scale * mean


def main() -> int:
    """Measure; return 1 if a target is missed."""
    rounds: int = parser_of(__doc__, 5).parse_args().rounds
    torch.set_num_threads(1)
    rows = as_measured(_layer(shape, rounds) for shape in SHAPES)
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        rows += _stacks(Path(folder), rounds)
    note = (
        f"targets: the layer at most {LAYER_TARGET} times ours, a start with {PLUGINS} plugins at "
        f"most {START_TARGET_S} s longer, a submission at most {SUBMIT_TARGET} times as long; "
        f"medians of {rounds} rounds"
    )
    show(NAME, rows, note)
    return int(any(row["met"] is False for row in rows))


def _layer(shape: tuple[int, ...], rounds: int) -> Row:
    ours, own = make("rms", shape[1]), make("rms_of_ones_own", shape[1])
    x = torch.randn(shape)
    times = [(_update_s(ours, x), _update_s(own, x)) for _ in range(20 * rounds)][5:]
    ratio = statistics.median(b / a for a, b in times)
    return {
        "what": f"forward and backward at {list(shape)}",
        "without_s": statistics.median(a for a, _ in times),
        "with_s": statistics.median(b for _, b in times),
        "ratio": ratio,
        "met": ratio <= LAYER_TARGET,
    }


def _update_s(layer: nn.Module, x: torch.Tensor) -> float:
    x = x.detach().requires_grad_()
    return _seconds(lambda: torch.autograd.backward(layer(x).sum()))


def _stacks(folder: Path, rounds: int) -> list[Row]:
    plugins = folder / "plugins"
    plugins.mkdir()
    for i in range(PLUGINS):
        (plugins / f"own_{i}.py").write_text(_TEXT.format(i))
    settings = {
        name: Settings(data_dir=folder / name, port=0, plugin_folder=found)
        for name, found in (("without", None), ("with", plugins))
    }
    for one in settings.values():  # the first start creates the database and describes the plugins
        _visit(one, "batch", 1)
    starts: dict[str, list[float]] = {"without": [], "with": []}
    submits: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(rounds):
        for name, one in settings.items():
            kind = "own_7" if name == "with" else "batch"
            started, answered = _visit(one, kind, SUBMITS)
            starts[name].append(started)
            submits[name] += answered
    start, submit = _row("start, known plugins", starts), _row("submission", submits)
    start["met"] = start["with_s"] - start["without_s"] <= START_TARGET_S
    submit["met"] = submit["ratio"] <= SUBMIT_TARGET
    return [start, submit]


def _visit(settings: Settings, kind: str, times: int) -> tuple[float, list[float]]:
    """Return the seconds until a stack was ready, and the seconds of each submission to it."""
    began = time.perf_counter()
    with launch(settings, worker=False) as running:
        ready = time.perf_counter() - began
        headers = {"Authorization": f"Bearer {running.connection.token}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:

            def submit() -> None:
                client.post("/v1/jobs", json={"normalizer": kind}).raise_for_status()

            submit()  # the first one opens connections
            return ready, [_seconds(submit) for _ in range(times)]


def _row(what: str, times: dict[str, list[float]]) -> Row:
    without, with_them = (statistics.median(times[name]) for name in ("without", "with"))
    ratio = with_them / without
    return {"what": what, "without_s": without, "with_s": with_them, "ratio": ratio}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
