"""The three forms of a network's factory: ours, one that takes `norm`, and any other."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, Mapping, Optional, Union

from torch import nn

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.nets.initialization import initialize
from normlab.nets.loaded_weights import LoadedWeights
from normlab.nets.sites import NetSpec
from normlab.norms.conversion import convert
from normlab.norms.conversion_report import ConversionReport
from normlab.specs.norm_base import NormSpec

Factory = Callable[..., nn.Module]
Report = Optional[Callable[[Union[ConversionReport, LoadedWeights]], object]]


class NormMaker:
    """
    Makes the normalizers of a network; its factory receives this object as `norm`.

    Args:
        normalizer: the kind with its options.
    """

    def __init__(self, normalizer: NormSpec) -> None:
        self.calls = 0
        self._normalizer = normalizer

    def __call__(self, channels: int, activation: Optional[str] = None, dims: int = 2) -> nn.Module:
        """Make the normalizer for *channels* channels, with the activation after it."""
        self.calls += 1
        return self._make(channels, activation, dims)

    def _make(self, channels: int, activation: Optional[str], dims: int) -> nn.Module:
        return norms.make(self._normalizer, channels, activation, dims)


def from_spec(
    factory: Factory, net: NetSpec, options: Mapping[str, Any], report: Report
) -> nn.Module:
    """Make one of our networks from *net*, with our initial weights."""
    made = factory(net)
    initialize(made)
    return norms.apply_weight_normalization(made, net.normalizer)


def with_norm(
    factory: Factory, net: NetSpec, options: Mapping[str, Any], report: Report
) -> nn.Module:
    """
    Make a network whose *factory* calls norm(channels, activation=None, dims=2) for each site.

    Its initial weights are those of its author.
    """
    made = built(factory, net, options, NormMaker(net.normalizer))
    return norms.apply_weight_normalization(made, net.normalizer)


def converted(
    factory: Factory, net: NetSpec, options: Mapping[str, Any], report: Report
) -> nn.Module:
    """
    Make a network and exchange its norm layers; *report* receives the conversion report.

    Raises:
        InvalidSpec: there is no norm layer to exchange, or one cannot be exchanged.
    """
    made = built(factory, net, options, report=report)
    return convert(made, net.normalizer, report=report)


FORMS = {"spec": from_spec, "norm": with_norm, "converted": converted}


def built(
    factory: Factory,
    net: NetSpec,
    options: Mapping[str, Any],
    norm: Optional[NormMaker] = None,
    report: Report = None,
) -> nn.Module:
    """
    Call the *factory* of an author with the arguments that it takes.

    Raises:
        InvalidSpec: it takes `norm` but does not call it, or does not return a module.
    """
    offered: Dict[str, Any] = {
        "norm": norm,
        "num_classes": net.num_classes,
        "in_channels": net.in_channels,
        "image_size": net.side,
        "task": net.task,
        "data_root": net.data_root,
        "report": report,
    }
    takes = inspect.signature(factory).parameters
    made = factory(**{name: offered[name] for name in offered if name in takes}, **options)
    name = getattr(factory, "__name__", str(factory))
    if not isinstance(made, nn.Module):
        raise InvalidSpec(
            f"{name} returned {type(made).__name__}; it must return a torch.nn.Module"
        )
    if norm is not None and not norm.calls:
        raise InvalidSpec(f"{name} never calls norm(channels), so it has no normalizer to exchange")
    return made
