"""The checks of the compiler, and the search for the loss tensor."""

from __future__ import annotations

import copy
from typing import Any, List, Sequence

import torch
from torch import Tensor, nn

from accelerators.poptorch_emulation.errors import Error
from accelerators.poptorch_emulation.losses import LossRecorder, only_loss
from accelerators.poptorch_emulation.options import Options
from accelerators.poptorch_emulation.tracing import on_device
from normlab.ipu_check.ops import is_supported
from normlab.ipu_check.recorder import OpRecorder, custom_functions

# The position of the loss if the program does not return it.
NOT_RETURNED = -1


def trace(module: nn.Module, args: Sequence[Any], options: Options, training: bool) -> int:
    """
    Run one micro-batch on a copy of *module*, and return the index of the loss output.

    Raises:
        Error: PopTorch would refuse to compile it.
    """
    module = copy.deepcopy(module)
    before = dict(module.named_buffers())
    recorder, losses = OpRecorder(), LossRecorder()
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(training):
        outputs = _run(module, args, training, losses, recorder)
    _refuse_unlisted(recorder)
    _check_buffers(module, before, recorder, options)
    return _loss(outputs, losses) if training else NOT_RETURNED


def _run(
    module: nn.Module, args: Sequence[Any], training: bool, losses: LossRecorder, ops: OpRecorder
) -> Any:
    with on_device(training), losses, ops.watch(module):
        return module(*args)


def flat(outputs: Any) -> List[Tensor]:
    """List the tensors of nested *outputs*."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [x for part in outputs for x in flat(part)]


def _refuse_unlisted(recorder: OpRecorder) -> None:
    unlisted = sorted(op for op in recorder.ops if not is_supported(op))
    if unlisted:
        raise Error(f"Unsupported ops found in compiled model: [{', '.join(unlisted)}]")


def _check_buffers(
    module: nn.Module, before: dict[str, Tensor], recorder: OpRecorder, options: Options
) -> None:
    after = dict(module.named_buffers())
    for name, buffer in before.items():
        if after.get(name) is not buffer:
            raise Error(
                f"Buffer {name} is reassigned within the model when running on the IPU. This is "
                "not supported. Consider using self.buf.copy_(src) to copy data from a source "
                "tensor, where `buf` is your buffer, or restructure your model"
            )
    changed = any(id(b) in recorder.written for b in before.values() if b.is_floating_point())
    if changed and options.replication_factor > 1 and options.broadcast_buffers:
        raise Error(
            "PopTorch does not support broadcasting buffers. If your model is able to tolerate "
            "buffers becoming out of sync between replicas, you can disable buffer broadcasting "
            "using poptorch.Options.broadcastBuffers(False)."
        )


def _loss(outputs: Any, losses: LossRecorder) -> int:
    loss = only_loss(losses.found)
    dropped = custom_functions(loss)
    if dropped:
        # PopTorch would continue with a wrong gradient; we raise an error instead.
        raise Error(
            f"the backward of {', '.join(dropped)} would be dropped: PopART differentiates the "
            "operators of the forward pass by itself"
        )
    places = [i for i, x in enumerate(flat(outputs)) if x is loss]
    return places[0] if places else NOT_RETURNED
