"""The networks of transformers, made from configurations, for images or for characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

import torch
from torch import Tensor, nn

from normlab.nets.factories import Report
from normlab.nets.zoo.packages import check_name, check_options, package, refuse, refused_by
from normlab.nets.zoo.starting import Start

_SIZES = ("num_labels", "num_channels", "vocab_size", "max_position_embeddings")
_OURS = {
    **dict.fromkeys(_SIZES, "follows from the dataset"),
    **dict.fromkeys(("id2label", "label2id"), "follows from the dataset"),
    **dict.fromkeys(
        ("use_pretrained_backbone", "backbone", "auto_map", "name_or_path"),
        "fetches code or weights",
    ),
}


class Classifier(nn.Module):
    """
    Map images to logits.

    Shape:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Classify *x*."""
        logits: Tensor = self.net(pixel_values=x).logits
        return logits


class Predictor(nn.Module):
    """
    Map characters to the logits of the next character, at each position.

    Shape:
        (N, K, T), one-hot over K -> (N, K, T)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Read *x* from its first character to its last."""
        ids = x.argmax(1)
        # No character is masked. We pass this mask because the library would otherwise read values
        # to find it out, and there are no values where a network is inspected.
        everywhere = torch.ones_like(ids)
        logits: Tensor = self.net(input_ids=ids, attention_mask=everywhere, use_cache=False).logits
        return logits.transpose(1, 2)


def network(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    task: str,
    data_root: Optional[Path],
    report: Report,
    **options: Any,
) -> nn.Module:
    """
    Make a network of the type *name*, such as `vit` or `gpt2`, with *options* in its configuration.

    Raises:
        InvalidSpec: transformers is not installed, has no such type or none for *task*, or refuses
            the options.
    """
    transformers, start = package("transformers"), Start(options)
    if start.pretrained:
        rule = "is for timm and torchvision: a configuration has no weights; name a file in weights"
        refuse("model.options.pretrained", rule)
    check_name("transformers", name, transformers.CONFIG_MAPPING.keys())
    check_options(start.options, _OURS)
    try:
        if task == "language":
            net = _predictor(transformers, name, num_classes, image_size, start.options)
        else:
            sizes = (num_classes, in_channels, image_size)
            net = _classifier(transformers, name, *sizes, start.options)
    except (TypeError, ValueError, RuntimeError, ImportError) as e:
        refused_by("transformers", name, e)
    return start.load(net, data_root, num_classes, report)


def _classifier(
    library: Any, name: str, classes: int, channels: int, side: int, options: Dict[str, Any]
) -> nn.Module:
    sizes = {"num_labels": classes, "num_channels": channels, "image_size": side}
    settings = library.AutoConfig.for_model(name, **{**sizes, **options})
    return Classifier(library.AutoModelForImageClassification.from_config(settings))


def _predictor(
    library: Any, name: str, characters: int, length: int, options: Dict[str, Any]
) -> nn.Module:
    nobody = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    sizes = {"vocab_size": characters, "max_position_embeddings": length, "is_decoder": True}
    settings = library.AutoConfig.for_model(name, **{**sizes, **nobody, **options})
    how = options.get("attn_implementation", "eager")  # plain operators, for every device
    net = library.AutoModelForCausalLM.from_config(settings, attn_implementation=how)
    return Predictor(net)
