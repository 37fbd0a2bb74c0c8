"""Modes of PyTorch for a layer: each trains a small network and records all results."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any, Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab.laws.small_trainings import CHANNELS, Broken, Record, data, some, train

Way = Callable[[nn.Module], Record]


def eager(net: nn.Module) -> Record:
    """Eagerly."""
    return train(net, net)


def broken(net: nn.Module) -> Record:
    """Compiled, with a graph break between the layers."""
    torch._dynamo.reset()
    assert isinstance(net, nn.Sequential)

    def parts(x: Tensor) -> Tensor:
        y: Tensor = net[0](x)
        torch._dynamo.graph_break()
        z: Tensor = net[1](y)
        return z

    return train(net, torch.compile(parts, backend="aot_eager"))


def fullgraph(net: nn.Module) -> Record:
    """Compiled as one graph."""
    torch._dynamo.reset()
    return train(net, torch.compile(net, backend="aot_eager", fullgraph=True))


def reentrant(net: nn.Module) -> Record:
    """Recomputed by a reentrant activation checkpoint."""
    return train(net, lambda x: checkpoint(net, x, use_reentrant=True))


def hooks(net: nn.Module) -> Record:
    """Recomputed by a checkpoint with saved-tensor hooks."""
    return train(net, lambda x: checkpoint(net, x, use_reentrant=False))


def around_reentrant(net: nn.Module) -> Record:
    """A reentrant checkpoint around the compiled net."""
    torch._dynamo.reset()
    call = torch.compile(net, backend="aot_eager")
    return train(net, lambda x: checkpoint(call, x, use_reentrant=True))


def around_hooks(net: nn.Module) -> Record:
    """A checkpoint with hooks around the compiled net."""
    torch._dynamo.reset()
    call = torch.compile(net, backend="aot_eager")
    return train(net, lambda x: checkpoint(call, x, use_reentrant=False))


def checkpoint_inside(net: nn.Module) -> Record:
    """A checkpoint inside a compiled function."""
    torch._dynamo.reset()

    def call(x: Tensor) -> Tensor:
        y: Tensor = checkpoint(net, x, use_reentrant=False)
        return y

    return train(net, torch.compile(call, backend="aot_eager", fullgraph=True))


def in_place(net: nn.Module) -> Record:
    """Followed by operators in place."""
    return train(net, lambda x: net(x).mul_(1.5).add_(0.5))


def out_of_place(net: nn.Module) -> Record:
    """Followed by the same operators out of place."""
    return train(net, lambda x: net(x) * 1.5 + 0.5)


def ddp(net: nn.Module) -> Record:
    """Inside of DistributedDataParallel, with one process."""
    store: Any = vars(dist)["HashStore"]()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        return train(net, nn.parallel.DistributedDataParallel(net, find_unused_parameters=True))
    finally:
        dist.destroy_process_group()


def channels_last(net: nn.Module) -> Record:
    """In the memory format channels_last."""
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return train(net, lambda x: net(x.to(memory_format=torch.channels_last)))


def half(net: nn.Module) -> Record:
    """Cast to float16."""
    return train(net.half(), net)


def bfloat16(net: nn.Module) -> Record:
    """Cast to bfloat16."""
    return train(net.bfloat16(), net)


def autocast(net: nn.Module) -> Record:
    """Under autocast to bfloat16."""

    def call(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y: Tensor = net(x)
        return y.to(x.dtype)

    return train(net, call)


def accumulated(net: nn.Module) -> Record:
    """With gradients accumulated over two passes."""
    return train(net, net, accumulate=2)


def penalized(net: nn.Module) -> Record:
    """With a gradient penalty, which differentiates twice."""
    return train(net, net, penalty=0.01)


def functional(net: nn.Module) -> Record:
    """By torch.func.functional_call."""

    def call(x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(net, tensors, (x,))
        return y

    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return train(net, call)


def copied(net: nn.Module) -> Record:
    """After deepcopy, pickle and a state dict in a file."""
    twin = pickle.loads(pickle.dumps(copy.deepcopy(net)))
    buffer = io.BytesIO()
    torch.save(twin.state_dict(), buffer)
    buffer.seek(0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    return train(twin, twin)


def exported(net: nn.Module) -> Record:
    """As a program of torch.export, in training."""
    x, _ = next(data(net))
    program = torch.export.export(net, (x,)).module()
    return train(program, program)


def evaluated(net: nn.Module) -> Record:
    """In evaluation mode."""
    return _slopes(net.eval(), torch.autograd.functional.jacobian)


def transformed(net: nn.Module) -> Record:
    """In evaluation mode, differentiated by torch.func."""
    return _slopes(net.eval(), lambda f, x: torch.func.grad(f)(x))


def exported_eval(net: nn.Module) -> Record:
    """As a program of torch.export, in evaluation mode."""
    x, _ = next(data(net.eval()))
    return _slopes(torch.export.export(net, (x,)).module(), torch.autograd.functional.jacobian)


def compiled_eval(net: nn.Module) -> Record:
    """Compiled as one graph, in evaluation mode."""
    torch._dynamo.reset()
    call = torch.compile(net.eval(), backend="aot_eager", fullgraph=True)
    return _slopes(net, torch.autograd.functional.jacobian, call)


def _slopes(net: nn.Module, grad: Callable[..., Any], call: Any = None) -> Record:
    x, c = next(data(net))
    call = call or net
    return {"y": call(x).detach(), "gx": grad(lambda x: (call(x) * c).sum(), x)}


def scripted(net: nn.Module) -> Record:
    """By torch.jit.script."""
    return train(net, torch.jit.script(net))


def on_meta(net: nn.Module) -> Record:
    """On the meta device: shapes, and no numbers."""
    net = net.to("meta")
    for x, _ in data(net):
        x = x.to("meta").requires_grad_()
        y = net(x)
        if y.shape != (4, CHANNELS, 5, 3):
            raise Broken(f"an input of shape {tuple(x.shape)} gives one of {tuple(y.shape)}")
        y.sum().backward()
        some(x.grad)
    return {}
