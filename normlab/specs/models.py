"""The facts about all networks for jobs. Needs no torch."""

from __future__ import annotations

from typing import Callable, List

from normlab.specs.model_facts import ModelFacts, NormPlace
from normlab.specs.registries import NETWORKS
from normlab.specs.zoo import Networks


def _halved(side: int) -> int:
    return (side + 1) // 2  # a 3x3 convolution with stride 2 and padding 1


def _preresnet8(width: int, side: int) -> List[NormPlace]:
    side = _halved(side)  # the stem
    sites, before = [], width
    for stage in range(3):
        sites.append(NormPlace(before, side))
        side = _halved(side) if stage else side
        before = width * 2**stage
        sites.append(NormPlace(before, side))
    return [*sites, NormPlace(before, side)]


def _convnet(width: int, side: int) -> List[NormPlace]:
    sites = []
    for stage in range(3):
        side = _halved(side) if stage else side
        sites += 2 * [NormPlace(width * 2**stage, side)]
    return sites


def _cifar_resnet(blocks: int) -> Callable[[int, int], List[NormPlace]]:
    def sites_of(width: int, side: int) -> List[NormPlace]:
        sites = [NormPlace(width, side)]  # the stem
        for stage in range(3):
            side = _halved(side) if stage else side
            sites += 2 * blocks * [NormPlace(width * 2**stage, side)]
        return sites

    return sites_of


def _resnet18(width: int, side: int) -> List[NormPlace]:
    side = _halved(side)
    sites = [NormPlace(width, side)]
    side = _halved(side)  # max pooling
    for stage in range(4):
        side = _halved(side) if stage else side
        norms = 5 if stage else 4  # two blocks of two, and the projection's
        sites += norms * [NormPlace(width * 2**stage, side)]
    return sites


def _resnet50(width: int, side: int) -> List[NormPlace]:
    side = _halved(side)
    sites = [NormPlace(width, side)]
    side = _halved(side)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        narrow, before = width * 2**stage, side
        side = _halved(side) if stage else side
        for block in range(blocks):
            sites.append(NormPlace(narrow, side if block else before))
            sites += [NormPlace(narrow, side), NormPlace(4 * narrow, side)]
            sites += [] if block else [NormPlace(4 * narrow, side)]  # the projection's
    return sites


def _randomplain100(width: int, side: int) -> List[NormPlace]:
    return 100 * [NormPlace(width, _halved(side))]


def _unet(width: int, side: int) -> List[NormPlace]:
    sides = [side, side // 2, side // 4]
    levels = [2 * [NormPlace(width * 2**i, side)] for i, side in enumerate(sides)]
    return [*levels[0], *levels[1], *levels[2], *levels[1], *levels[0]]


def _lstm(width: int, side: int) -> List[NormPlace]:
    return 4 * [NormPlace(width, 1)]  # one per gate, at every time step


def _detector(width: int, side: int) -> List[NormPlace]:
    half, quarter = _halved(side), _halved(_halved(side))
    fine, coarse = NormPlace(2 * width, half), NormPlace(4 * width, quarter)
    return [NormPlace(width, side), fine, fine, coarse, coarse, fine]


def _stylizer(width: int, side: int) -> List[NormPlace]:
    half, quarter = _halved(side), _halved(_halved(side))
    middle, coarse = NormPlace(2 * width, half), NormPlace(4 * width, quarter)
    outer = NormPlace(width, side)
    return [outer, middle, *5 * [coarse], middle, outer]


def _vit(width: int, side: int) -> List[NormPlace]:
    return 9 * [NormPlace(width, side // 4)]  # two in each block, and one before the head


def _convnext(width: int, side: int) -> List[NormPlace]:
    sites = [NormPlace(width, side // 2)]
    for stage in range(3):
        side = side // 2
        sites += 2 * [NormPlace(width * 2**stage, side)]
        sites.append(NormPlace(width * 2**stage, side))  # before smaller patches, or the head
    return sites


_DROPS = ("dropout", "stochastic_depth")
_OWN = (
    ModelFacts(
        "preresnet8",
        "pre-activation residual net of 8 layers: stem with stride 2, three blocks",
        factory="normlab.nets.preresnet:preresnet8",
        default_width=8,
        min_image_size=8,
        sites_of=_preresnet8,
        drops=_DROPS,
        packs=True,
    ),
    ModelFacts(
        "convnet",
        "six 3x3 convolutions in three stages, no shortcuts",
        factory="normlab.nets.plain:convnet",
        default_width=16,
        min_image_size=8,
        sites_of=_convnet,
        drops=("dropout",),
        packs=True,
    ),
    ModelFacts(
        "resnet20",
        "residual net of 20 layers in its CIFAR form",
        factory="normlab.nets.resnet:resnet20",
        default_width=16,
        min_image_size=8,
        sites_of=_cifar_resnet(3),
        norm_ends_branch=True,
        drops=_DROPS,
        packs=True,
    ),
    ModelFacts(
        "resnet56",
        "residual net of 56 layers in its CIFAR form",
        factory="normlab.nets.resnet:resnet56",
        default_width=16,
        min_image_size=8,
        sites_of=_cifar_resnet(9),
        norm_ends_branch=True,
        drops=_DROPS,
        packs=True,
    ),
    ModelFacts(
        "resnet18",
        "residual net of 18 layers in its ImageNet form",
        factory="normlab.nets.resnet:resnet18",
        default_width=64,
        min_image_size=32,
        sites_of=_resnet18,
        norm_ends_branch=True,
        drops=_DROPS,
        packs=True,
    ),
    ModelFacts(
        "resnet50",
        "residual net of 50 layers with bottlenecks in its ImageNet form",
        factory="normlab.nets.resnet:resnet50",
        default_width=64,
        min_image_size=32,
        sites_of=_resnet50,
        norm_ends_branch=True,
        drops=_DROPS,
        packs=True,
    ),
    ModelFacts(
        "vit",
        "vision transformer of four blocks on patches of 4 x 4 pixels",
        factory="normlab.nets.vit:VisionTransformer",
        default_width=64,
        min_image_size=8,
        sites_of=_vit,
        packs=True,
        cost=1.3,
        pack_gain=0.75,
    ),
    ModelFacts(
        "convnext",
        "ConvNeXt of three stages with two blocks each on patches of 2 x 2 pixels",
        factory="normlab.nets.convnext:convnext",
        default_width=32,
        min_image_size=16,
        sites_of=_convnext,
        packs=True,
        cost=1.5,
        pack_gain=0.5,
    ),
    ModelFacts(
        "randomplain100",
        "100 plain convolutions with random scales and shifts, for untrained diagnostics",
        factory="normlab.nets.plain:randomplain100",
        default_width=128,
        min_image_size=8,
        sites_of=_randomplain100,
        packs=True,
    ),
    ModelFacts(
        "unet",
        "U-Net of three resolutions: ten 3x3 convolutions, the finer maps joined on the way up",
        factory="normlab.nets.unet:UNet",
        default_width=8,
        min_image_size=8,
        sites_of=_unet,
        task="segmentation",
        packs=True,
        cost=2.7,
    ),
    ModelFacts(
        "lstm",
        "long short-term memory of one layer, with a normalizer at each gate",
        factory="normlab.nets.lstm:Lstm",
        default_width=64,
        min_image_size=2,
        sites_of=_lstm,
        task="language",
        recurrent=True,
        drops=("dropout",),
        packs=True,
        cost=9.0,
        pack_gain=0.6,
    ),
    ModelFacts(
        "detector",
        "one-stage detector without anchors: the centre of each object on a grid, and its edges",
        factory="normlab.nets.detector:Detector",
        default_width=16,
        min_image_size=8,
        sites_of=_detector,
        task="detection",
        packs=True,
        pack_gain=0.95,
    ),
    ModelFacts(
        "stylizer",
        "feed-forward net that draws a picture in another style: down, two residual blocks, up",
        factory="normlab.nets.stylizer:Stylizer",
        default_width=8,
        min_image_size=8,
        sites_of=_stylizer,
        task="style",
        packs=True,
        cost=1.5,  # its loss runs the features three times
        pack_gain=0.65,
    ),
)
MODELS = Networks(NETWORKS, {facts.name: facts for facts in _OWN})
