"""Run a model and its loss once on tensors without data, and check the recorded operators."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Tuple

import torch
from torch import Tensor, nn

from normlab.ipu_check import OpCheck
from normlab.ipu_check.layers import layer_problems
from normlab.ipu_check.ops import is_supported
from normlab.ipu_check.recorder import OpRecorder, custom_functions

Buffers = Dict[str, Tensor]


def check_model(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> OpCheck:
    """
    Check *model*, trained with *loss* on inputs like *x* and labels like *y*.

    All of them should be on the meta device; then nothing is computed or allocated.
    """
    model.train()
    problems = layer_problems(model)
    recorder = OpRecorder()
    before = dict(model.named_buffers())
    try:
        with recorder.watch(model):
            result = loss(model(x), y)
        problems += _custom_backwards(result)
    except (RuntimeError, NotImplementedError) as e:  # no meta form, or a value is read
        problems.append(f"it cannot be traced: {str(e).splitlines()[0]}")
    problems += _unlisted(recorder)
    problems += buffer_problems(model, before, recorder)
    return OpCheck(tuple(problems), tuple(sorted(recorder.ops)), torch.__version__)


def _custom_backwards(loss: Tensor) -> Iterator[str]:
    for name in custom_functions(loss):
        yield f"the custom backward of {name} would be dropped silently; use plain operators"


def _unlisted(recorder: OpRecorder) -> Iterator[str]:
    for op, path in sorted(recorder.ops.items()):
        if not is_supported(op):
            where = f" (module {path})" if path else ""
            yield f"{op}{where} is not in PopTorch's op list"


def buffer_problems(model: nn.Module, before: Buffers, recorder: OpRecorder) -> List[str]:
    """List the buffers that the forward pass changed in a way that an IPU does not keep."""
    after = dict(model.named_buffers())
    found = []
    for name, buffer in before.items():
        if after.get(name) is not buffer:
            found.append(f"buffer {name} is reassigned; change it in place with copy_()")
        elif id(buffer) in recorder.written and not _may_change(model, name, buffer):
            found.append(f"buffer {name} holds {_kind(buffer)}, which an IPU compiles as constants")
    return found


def _may_change(model: nn.Module, name: str, buffer: Tensor) -> bool:
    if buffer.is_floating_point():
        return True
    # Batch norm counts its batches, but reads the count only if it averages over all of them.
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    return leaf == "num_batches_tracked" and getattr(owner, "momentum", None) is not None


def _kind(buffer: Tensor) -> str:
    return "truth values" if buffer.dtype == torch.bool else "integers"


def meta_batch(
    batch_size: int, sample: Tuple[int, ...], target: Tuple[int, ...] = ()
) -> Tuple[Tensor, Tensor]:
    """Return inputs (N, *sample) and classes (N, *target) without data."""
    x = torch.empty((batch_size, *sample), device="meta")
    return x, torch.zeros((batch_size, *target), dtype=torch.int64, device="meta")
