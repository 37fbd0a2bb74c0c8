"""The networks of torchvision that classify images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch
from torch import nn

from normlab.nets.factories import Report
from normlab.nets.loaded_weights import load_state
from normlab.nets.zoo import cached
from normlab.nets.zoo.packages import check_name, check_options, package, refuse, refused_by
from normlab.nets.zoo.starting import Start, tell

_CHANNELS = 3
_OURS = {
    "progress": "has no effect here",
    "norm_layer": "the job's normalizer replaces every norm layer",
}


def network(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    data_root: Optional[Path],
    report: Report,
    **options: Any,
) -> nn.Module:
    """
    Make the network *name* of torchvision, such as `resnet50`.

    Raises:
        InvalidSpec: torchvision is not installed or has no such network, refuses the options, or
            the weights are not there.
    """
    models, start = package("torchvision").models, Start(options)
    check_name("torchvision", name, models.list_models(module=models))
    check_options(start.options, _OURS)
    if in_channels != _CHANNELS:
        rule = f"torchvision/{name} takes images of {_CHANNELS} channels, not {in_channels}"
        refuse("model.name", f"{rule}; timm has networks for any number")
    given: Dict[str, Any] = {"num_classes": num_classes, **start.options}
    if name.startswith("vit_"):  # its positions are parameters; other networks take no size
        given["image_size"] = image_size
    try:
        net: nn.Module = models.get_model(name, weights=None, **given)
    except (TypeError, ValueError, RuntimeError) as e:
        refused_by("torchvision", name, e)
    if start.pretrained:
        path = weights_file(name, start.download)
        loaded = start.pretrained_weights(f"torchvision/{name}", path)
        tell(report, loaded._replace(fresh=_load(net, path, num_classes)))
    return start.load(net, data_root, num_classes, report)


def weights_file(name: str, download: str) -> Path:
    """
    Return the file with torchvision's weights for the network *name*.

    Args:
        download: with "allow", fetch it if it is not in the user's cache.

    Raises:
        InvalidSpec: the file is not there.
    """
    weights = package("torchvision").models.get_model_weights(name).DEFAULT
    return cached.from_url(weights.url, download)


def _load(net: nn.Module, path: Path, num_classes: int) -> Tuple[str, ...]:
    """Load torchvision's own weights except a head with other classes; return that head's names."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return load_state(net, state, num_classes, "model.options.pretrained", path.name)
