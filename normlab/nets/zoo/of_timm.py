"""The networks of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

from torch import nn

from normlab.nets.factories import Report
from normlab.nets.zoo import cached
from normlab.nets.zoo.packages import check_name, check_options, package, refuse, refused_by
from normlab.nets.zoo.starting import Start, tell

_FILES = "names files of the worker; use weights, or pretrained"
_OURS = {
    **dict.fromkeys(("in_chans", "img_size"), "follows from the dataset"),
    **dict.fromkeys(
        ("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"), _FILES
    ),
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
    Make the network *name* of timm, such as `resnet50` or `resnet50.a1_in1k`.

    Raises:
        InvalidSpec: timm is not installed or has no such network, refuses the options, or the
            weights are not there.
    """
    timm, start = package("timm"), Start(options)
    known = timm.list_pretrained() if "." in name else timm.list_models()
    check_name("timm", name, known)
    check_options(start.options, _OURS)
    settings = timm.get_pretrained_cfg(name)
    given: Dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels, **start.options}
    if settings is not None and settings.fixed_input_size:
        given["img_size"] = image_size
    if start.pretrained:
        file = weights_file(name, start.download)
        tell(report, start.pretrained_weights(f"timm/{name}", file))
        given.update(pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    try:
        net: nn.Module = timm.create_model(name, **given)
    except (TypeError, ValueError, AssertionError, RuntimeError) as e:
        refused_by("timm", name, e)
    return start.load(net, data_root, num_classes, report)


def weights_file(name: str, download: str) -> Path:
    """
    Return the file with timm's weights for the network *name*.

    Args:
        download: with "allow", fetch it if it is not in the user's cache.

    Raises:
        InvalidSpec: timm has no weights for it, or the file is not there.
    """
    settings = package("timm").get_pretrained_cfg(name)
    if settings is None or not settings.has_weights:
        refuse("model.options.pretrained", f"timm has no weights for {name}; leave pretrained out")
    if settings.hf_hub_id:
        named = settings.hf_hub_filename
        names = [named] if named else ["model.safetensors", "pytorch_model.bin"]
        return cached.from_hub(settings.hf_hub_id, names, download)
    return cached.from_url(settings.url, download)
