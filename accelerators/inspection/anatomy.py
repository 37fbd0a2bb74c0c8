"""The layers of a job's network: their shapes, their costs, and the connections between them."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Tuple

import torch
from torch import Tensor, nn

from accelerators.inspection.dataflow import Dataflow
from normlab.diagnostics.sites import normalizer_sites
from normlab.diagnostics.step_size import TRANSPOSED, filter_layers
from normlab.errors import InvalidSpec
from normlab.ipu_check.jobs import example, meta_model
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.Sequential)  # Sequential: if it is empty
_NO_MODULE = nn.Module()  # for operations that join outputs


def anatomy(spec: JobSpec) -> Dict[str, Any]:
    """
    Return the layers of the network of *spec*, as the fields of a NetworkRecord.

    The network runs once on tensors without data, in training mode. Layers are its normalizers
    (with their activation), its filters, all other modules without submodules, and operations that
    join the outputs of several of these.

    Raises:
        InvalidSpec: the size of its samples is unknown, or the network cannot take them.
    """
    model = meta_model(spec)
    x, _ = example(spec, spec.batch_size)
    visits = _Visits(_layers(model), joins=not MODELS[spec.model.name].recurrent)
    try:
        with torch.no_grad(), visits.watching():
            model.train()(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as e:
        raise InvalidSpec(f"model.name: it cannot take these samples: {e}") from e
    return {"layers": visits.found()}


def _layers(model: nn.Module) -> Dict[str, Tuple[str, nn.Module]]:
    """Return the role and the module of each layer, by name."""
    layers = {name: ("normalizer", module) for name, module in normalizer_sites(model).items()}
    for name, module in filter_layers(model):
        layers.setdefault(name, ("filter", module))
    inside = tuple(f"{name}." for name in layers)
    for name, module in model.named_modules():
        leaf = not any(True for _ in module.children()) and not isinstance(module, _WITHOUT_EFFECT)
        if leaf and name not in layers and not name.startswith(inside):
            layers[name] = ("other", module)
    return layers


class _Visits:
    """Records the layers' inputs and outputs, in the order of their first calls."""

    def __init__(self, layers: Mapping[str, Tuple[str, nn.Module]], joins: bool) -> None:
        self.flow = Dataflow(joins)
        self._layers = layers
        self._order: Dict[str, Dict[str, Any]] = {}

    def watching(self) -> Any:
        """Record every call of a layer while the context is open."""
        return self.flow.visiting({n: module for n, (_, module) in self._layers.items()}, self.note)

    def note(self, name: str, x: Tensor, out: Tensor, sources: List[str]) -> None:
        """Record a call of the layer *name*, whose input is the output of the layers *sources*."""
        if name in self._order:
            self._order[name]["calls"] += 1
            return
        role, module = self._layers.get(name, ("join", _NO_MODULE))
        self._order[name] = {
            "name": name,
            "role": role,
            "type": name.partition(" ")[0] if role == "join" else _described(module),
            "input": list(x.shape[1:]),
            "output": list(out.shape[1:]),
            "parameters": sum(p.numel() for p in module.parameters()),
            "state": sum(b.numel() for b in module.buffers()),
            "products": _products(module, x, out),
            "values": math.prod(out.shape[1:]),
            "calls": 1,
            "weights_normalized": hasattr(module, "parametrizations"),
            "after": sources,
        }

    def found(self) -> List[Dict[str, Any]]:
        """Return the layers, each with the indices of the layers before it."""
        places = {name: i for i, name in enumerate(self._order)}
        return [
            {**layer, "after": sorted(places[name] for name in layer["after"])}
            for layer in self._order.values()
        ]


def _described(module: nn.Module) -> str:
    norm = getattr(module, "norm", module)
    kind = type(norm).__name__.replace("Parametrized", "")
    return f"{kind}({norm.extra_repr()})"


def _products(module: Any, x: Tensor, out: Tensor) -> int:
    """Count the multiplications of one sample."""
    if isinstance(module, nn.Linear):
        return math.prod(out.shape[1:]) * module.in_features
    if isinstance(module, TRANSPOSED):
        return math.prod(x.shape[1:]) * _each(module, module.out_channels)
    if isinstance(module, _CONVOLUTIONS):
        return math.prod(out.shape[1:]) * _each(module, module.in_channels)
    return 0


def _each(convolution: Any, channels: int) -> int:
    """Count the multiplications for one value, with *channels* on the other side."""
    return int(channels // convolution.groups * math.prod(convolution.kernel_size))
