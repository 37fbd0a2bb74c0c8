"""Record a step once and replay it, for small batches, where kernel launches dominate."""

from __future__ import annotations

from typing import Any, Callable, Optional

import torch
from torch import Tensor

from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import StepResult

Step = Callable[[Tensor, Tensor], StepResult]
_WARM_UP = 3  # eager steps before recording, so that workspaces and gradients exist


def graphs_refusal(spec: JobSpec) -> Optional[str]:
    """Return why *spec* cannot be replayed as a CUDA graph; None if it can."""
    norm, how = spec.normalizer, spec.acceleration
    if norm.graph_refusal is not None:
        return (
            f"acceleration {how!r} replays a recording, and normalizer {norm.kind!r} cannot "
            f"be recorded: {norm.graph_refusal}; use acceleration 'none'"
        )
    if spec.replicas > 1 and getattr(spec.normalizer, "sync", False):
        return f"acceleration {how!r} cannot record the statistics that replicas exchange with sync"
    if spec.precision == "float16" and spec.optimizer.clips:
        return f"acceleration {how!r} cannot clip in float16; use bfloat16, or do not clip"
    return None


class GraphedStep:
    """
    Forward and backward pass of a step as one CUDA graph; the optimizer stays outside.

    The first calls run eagerly on a separate stream, and the next call is recorded. From then on,
    inputs are copied to the addresses that the graph reads. Gradients and results stay at their
    addresses, so results are copied before they are returned.

    Args:
        step: forward and backward; it must write gradients in place and never read from the device.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._calls = 0
        self._graph: Any = None
        self._x: Optional[Tensor] = None
        self._y: Optional[Tensor] = None
        self._result: Optional[StepResult] = None

    def __call__(self, x: Tensor, y: Tensor) -> StepResult:
        """Run the step on *x* and *y*, which have the same shapes at every call."""
        self._calls += 1
        if self._calls <= _WARM_UP:
            return self._warm_up(x, y)
        if self._graph is None:
            self._record(x, y)
        return self._replay(x, y)

    def _warm_up(self, x: Tensor, y: Tensor) -> StepResult:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._step(x, y)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x.clone(), y.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):  # recorded, not run
            self._result = self._step(self._x, self._y)

    def _replay(self, x: Tensor, y: Tensor) -> StepResult:
        if self._x is None or self._y is None or self._result is None:
            raise RuntimeError("a graph is replayed after it was recorded")
        self._x.copy_(x)
        self._y.copy_(y)
        self._graph.replay()
        found = self._result
        return StepResult(found.loss.clone(), found.correct.clone(), found.predictions)
