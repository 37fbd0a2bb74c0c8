"""Laws that do not depend on a mode: shapes, gradients, state, and the kind's own claims."""

from __future__ import annotations

import copy
from typing import Callable, Dict

import torch
from torch import Tensor, nn

from normlab.laws.small_trainings import CHANNELS, Broken
from normlab.specs.norm_base import NormSpec

Layer = Callable[[], nn.Module]  # makes a new layer, always with the same values
Law = Callable[[Layer, NormSpec], None]

_SHAPE = (4, CHANNELS, 5, 3)


def keeps_shape_and_dtype(layer: Layer, spec: NormSpec) -> None:
    """The output has the shape and the dtype of the input, for one sample and for several."""
    for dtype in (torch.float32, torch.float64):
        for samples in (1, 4):
            x = _x(dtype)[:samples]
            y = layer().to(dtype).eval()(x)
            if y.shape != x.shape or y.dtype != x.dtype:
                raise Broken(f"{tuple(x.shape)} {x.dtype} becomes {tuple(y.shape)} {y.dtype}")


def is_deterministic(layer: Layer, spec: NormSpec) -> None:
    """In evaluation mode, two layers that are made in the same way give the same bits."""
    outputs = []
    for draws in (1, 2):
        made = layer().eval()
        torch.rand(draws)  # so that later random numbers differ
        outputs.append(made(_x()))
    if not torch.equal(*outputs):
        raise Broken("the same input gives different bits the second time, in evaluation mode")


def has_right_gradients(layer: Layer, spec: NormSpec) -> None:
    """In float64 and evaluation mode, the gradients agree with finite differences."""
    made = layer().double().eval()
    x = _x(torch.float64)[:2, :, :2].requires_grad_()
    names = [name for name, p in made.named_parameters() if p.requires_grad]
    given = [p.detach().clone().requires_grad_() for _, p in made.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(made, dict(zip(names, values)), (x,))
        return y

    try:
        torch.autograd.gradcheck(run, (x, *given), nondet_tol=0.0)
    except RuntimeError as e:
        raise Broken(f"its gradients are not those of finite differences: {_first_line(e)}") from e


def keeps_state_in_evaluation(layer: Layer, spec: NormSpec) -> None:
    """An evaluation changes no buffer; training changes one only if `stateful` says so."""
    made = layer().eval()
    before = copy.deepcopy(dict(made.named_buffers()))
    made(_x())
    _same(before, made, "an evaluation changes")
    if not spec.stateful:
        made.train()(_x())
        _same(before, made, "without stateful=True, training changes")


def is_independent_if_it_says_so(layer: Layer, spec: NormSpec) -> None:
    """With `batch_independent=True`, no output depends on the other samples of its batch."""
    if spec.batch_dependent:
        return

    def run(x: Tensor) -> Tensor:
        y: Tensor = layer().double().train(not spec.stateful)(x)  # others keep state
        return y

    x = _x(torch.float64)
    whole = run(x)
    alone = torch.cat([run(x[i : i + 1]) for i in range(len(x))])
    off = float((whole - alone).detach().abs().max())
    if off > 1e-10:
        raise Broken(
            f"batch_independent=True, but the results of samples alone differ by {off:.2g}"
        )


def goes_through_a_state_dict(layer: Layer, spec: NormSpec) -> None:
    """A new layer with the state dict of a trained one gives the same bits."""
    trained = layer()
    for p in trained.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    trained(_x())
    other = layer()
    other.load_state_dict(trained.state_dict())
    if not torch.equal(trained.eval()(_x()), other.eval()(_x())):
        raise Broken("something that its output depends on is not in its state dict")


PROPERTIES: Dict[str, Law] = {
    "shape and dtype": keeps_shape_and_dtype,
    "determinism": is_deterministic,
    "gradients": has_right_gradients,
    "evaluation keeps state": keeps_state_in_evaluation,
    "batch independence": is_independent_if_it_says_so,
    "state dict": goes_through_a_state_dict,
}


def _x(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(_SHAPE, generator=generator, dtype=torch.float64).to(dtype)


def _same(before: Dict[str, Tensor], layer: nn.Module, what: str) -> None:
    for name, buffer in layer.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise Broken(f"{what} the buffer {name!r}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
