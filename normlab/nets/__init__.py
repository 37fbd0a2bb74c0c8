"""The networks, each with any normalizer: `build` makes them by name."""

from __future__ import annotations

from torch import nn

from normlab.errors import InvalidSpec
from normlab.nets.factories import FORMS, Report
from normlab.nets.initialization import zero_last_scales
from normlab.nets.sites import NetSpec, Site
from normlab.specs.models import MODELS
from normlab.specs.named_objects import named_object
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import NormSpec

__all__ = ["NetSpec", "Site", "build"]


def build(
    model: ModelSpec,
    normalizer: NormSpec,
    in_channels: int,
    num_classes: int,
    image_size: int,
    report: Report = None,
) -> nn.Module:
    """
    Build a network with fresh weights from torch's global random numbers.

    Args:
        report: gets what was done with each norm layer, where these are exchanged for
            *normalizer*; None: nothing.

    Shape:
        (N, *in_channels*, *image_size*, *image_size*) -> (N, *num_classes*), the logits; a
        segmenting net gives those of each pixel, (N, *num_classes*, *image_size*, *image_size*). A
        recurrent net maps (N, *in_channels*, *image_size*) to (N, *num_classes*, *image_size*).

    Raises:
        InvalidSpec: no such network, images too small for it, channels that do not fit
            *normalizer*, or no scale to start at 0.
    """
    if model.name not in MODELS:
        raise InvalidSpec(f"no model {model.name!r}; there are {', '.join(MODELS)}")
    facts = MODELS[model.name]
    if image_size < facts.min_image_size:
        raise InvalidSpec(
            f"{model.name} needs images of {facts.min_image_size} pixels or more, not {image_size}"
        )
    width = model.width or facts.default_width or 0
    drops = (model.dropout, model.stochastic_depth)
    spec = NetSpec(normalizer, in_channels, num_classes, width, image_size, *drops)
    make = FORMS[facts.form]
    net: nn.Module = make(named_object(facts.factory), spec, model.options, report)
    if model.zero_last_scale:
        zero_last_scales(net)
    return net
