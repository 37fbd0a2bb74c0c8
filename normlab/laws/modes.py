"""The modes of PyTorch; in each, a layer must give the same result as eagerly in float64."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, NamedTuple, Optional, Union

import torch
from torch import Tensor, nn

from normlab.laws import rounding, two_models, ways
from normlab.laws.small_trainings import Record
from normlab.laws.ways import Way

Net = Callable[[], nn.Module]


class Mode(NamedTuple):
    """A mode of PyTorch, the float64 result that it must equal, and the precision."""

    way: Way
    reference: Way = ways.eager
    tolerance: float = 2e-5  # relative to the length of the compared tensor
    rounding: Optional[torch.dtype] = None  # if given, this rounding's effect is the tolerance


MODES: Dict[str, Mode] = {
    "eager": Mode(ways.eager),
    "in-place operator after it": Mode(ways.in_place, ways.out_of_place),
    "channels last": Mode(ways.channels_last),
    "half": Mode(ways.half, rounding=torch.float16),
    "bfloat16": Mode(ways.bfloat16, rounding=torch.bfloat16),
    "autocast": Mode(ways.autocast, rounding=torch.bfloat16),
    "accumulation": Mode(ways.accumulated, ways.accumulated),
    "double backward": Mode(ways.penalized, ways.penalized, 2e-4),
    "checkpoint, reentrant": Mode(ways.reentrant),
    "checkpoint, hooks": Mode(ways.hooks),
    "DDP": Mode(ways.ddp),
    "functional_call": Mode(ways.functional),
    "pickle, deepcopy": Mode(ways.copied),
    "meta device": Mode(ways.on_meta),
    "compiled, with breaks": Mode(ways.broken),
    "compiled, fullgraph": Mode(ways.fullgraph),
    "checkpoint around compiled, reentrant": Mode(ways.around_reentrant),
    "checkpoint around compiled, hooks": Mode(ways.around_hooks),
    "checkpoint inside compiled": Mode(ways.checkpoint_inside),
    "compiled evaluation": Mode(ways.compiled_eval, ways.evaluated),
    "vmap over models": Mode(two_models.vmapped, two_models.each),
    "func.grad, evaluation": Mode(ways.transformed, ways.evaluated),
    "export, training": Mode(ways.exported),
    "export, evaluation": Mode(ways.exported_eval, ways.evaluated),
    "jit.script": Mode(ways.scripted),
}


def tolerated(net: Net, mode: Mode, exact: Record) -> Dict[str, float]:
    """Return the relative tolerance of each value of *exact* in *mode*."""
    if mode.rounding is None:
        return dict.fromkeys(exact, mode.tolerance)
    wide = mode.way is ways.autocast  # parameters stay in float32
    return rounding.tolerances(net, exact, mode.rounding, wide, _off)


def differences(
    found: Record, expected: Record, tolerance: Union[float, Dict[str, float]]
) -> Dict[str, float]:
    """Return the tensors whose relative difference exceeds *tolerance*, with that difference."""
    names = [n for n, e in expected.items() if n in found or bool(e.any())]  # None: no gradient
    limits = tolerance if isinstance(tolerance, dict) else dict.fromkeys(names, tolerance)
    off = {n: _off(found[n], expected[n]) for n in names}
    return {n: o for n, o in off.items() if not o <= limits[n]}


def _off(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / (expected.norm() + 1e-2))


@contextmanager
def torchs_own_warnings() -> Iterator[None]:
    """Allow torch's deprecation warnings about its own functions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        # raised in code that the compiler generates after a graph break
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
        yield
