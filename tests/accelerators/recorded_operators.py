"""
A GPU without a GPU: what the adapters ask of `torch.cuda`, on the host, with recordings.

A recording notes the operators of a step, and takes back what they changed. A replay calls the same
operators with the same tensors. So, as with a CUDA graph, a number that came from Python stays what
it was, a tensor is read anew, and nothing but operators happens again. What needs the host while a
device computes is refused, as CUDA refuses it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Dict, Iterator, List, Tuple

import pytest
import torch
from torch import Tensor

from normlab.norms import capture
from normlab.norms.typed_bases import DispatchMode

# they read a value on the host, or copy one from there
_OF_THE_HOST = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero"}


class RecordedGraph:
    """The part of `torch.cuda.CUDAGraph` that is used, for tensors on a host."""

    made: ClassVar[List[RecordedGraph]] = []

    def __init__(self) -> None:
        self.calls: List[Tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        RecordedGraph.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        """Call the operators again, with the tensors that they had."""
        self.replays += 1
        for operator, args, kwargs, before in self.calls:
            found = operator(*args, **kwargs)
            for old, new in zip(_tensors(before), _tensors(found)):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Recorder(DispatchMode):
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self._graph = graph
        self._before: Dict[int, Tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        masks = name.startswith("index") and any(t.dtype == torch.bool for t in _tensors(args[1]))
        if name in _OF_THE_HOST or masks:
            raise RuntimeError(f"{name} during a recording")
        for argument, value in zip(func._schema.arguments, args):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        found = func(*args, **(kwargs or {}))
        self._graph.calls.append((func, args, kwargs or {}, found))
        return found

    def _keep(self, value: Any) -> None:
        for x in _tensors(value):
            whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())  # type: ignore[call-overload]
            self._before.setdefault(whole.data_ptr(), (whole, whole.clone()))

    def take_back(self) -> None:
        for tensor, before in self._before.values():
            tensor.copy_(before)


def _tensors(value: Any) -> List[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [x for each in value for x in _tensors(each)] if isinstance(value, (list, tuple)) else []


@contextmanager
def _record(graph: RecordedGraph) -> Iterator[None]:
    recorder = _Recorder(graph)
    with recorder:
        yield
    with torch.no_grad():
        recorder.take_back()  # recorded, not run


class _Stream:
    def wait_stream(self, other: Any) -> None:
        """Nothing runs concurrently here."""


def simulate_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the adapters of CUDA devices compute on the host, as if no value could be read there."""
    monkeypatch.setattr(RecordedGraph, "made", [])
    monkeypatch.setattr(capture, "is_readable", lambda x: False)
    monkeypatch.setattr(capture, "_dispatchers", lambda: 0)  # the recorder is none of theirs
    for name, instead in {
        "CUDAGraph": RecordedGraph,
        "graph": _record,
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device: None,
        "reset_peak_memory_stats": lambda device: None,
        "max_memory_allocated": lambda device: 2**20,
        "is_bf16_supported": lambda: True,  # older releases of torch ask in autocast
        "get_rng_state": lambda device: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, instead)
