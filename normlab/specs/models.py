"""The facts about all networks for jobs. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from typing_extensions import Literal

from normlab.specs.base import Spec
from normlab.specs.registries import NETWORKS, Registry


@dataclass(frozen=True)
class NormPlace:
    """A place for a normalizer in a network: its channels, and the side of its map."""

    channels: int
    side: int


class SampleSize(NamedTuple):
    """What a network is built for: the channels and side of its samples, and the classes."""

    channels: int
    classes: int
    side: int


@dataclass(frozen=True)
class ModelFacts:
    """
    The facts about a network that are known before it is built.

    Attributes:
        factory: module:function that makes it.
        sites_of: from width and image side to the places of its normalizers; a test holds it to
            the network that the factory makes. None: only *recorded* tells.
        norm_ends_branch: the last layer of each residual branch is a normalizer.
        task: a name of specs/tasks.py.
        recurrent: then only some normalizers can be used in it.
        form: what the factory takes: a `nets.sites.NetSpec`; `norm`, which makes normalizers; or
            neither, and its norm layers are converted.
        options: of the factory.
        recorded: the places that it has with default options, where it was built to see them.
        drops: fields of a job's model that it has: "dropout", "stochastic_depth".
        unfit: why it cannot be built for samples of a size, where that was tried.
    """

    name: str
    summary: str
    factory: str
    default_width: Optional[int]
    min_image_size: int
    sites_of: Optional[Callable[[int, int], List[NormPlace]]]
    norm_ends_branch: bool = False
    task: str = "classification"
    recurrent: bool = False
    form: Literal["spec", "norm", "converted"] = "spec"
    options: Type[Spec] = Spec
    recorded: Mapping[SampleSize, Sequence[NormPlace]] = field(default_factory=dict)
    unfit: Mapping[SampleSize, str] = field(default_factory=dict)
    drops: Tuple[str, ...] = ()

    def sites(self, width: Optional[int], image_size: int) -> List[NormPlace]:
        """List the normalizers in the order in which a sample passes them; none if unknown."""
        asked = width or self.default_width
        if self.sites_of is None or asked is None:
            return []
        return list(_sites(self.sites_of, asked, image_size))

    def channels(self, width: Optional[int]) -> List[int]:
        """List the channels of each normalizer; with default options, where it was built."""
        first = next(iter(self.recorded.values()), ())
        sites = first if self.sites_of is None else self.sites(width, 4 * self.min_image_size)
        return [site.channels for site in sites]


@lru_cache(4096)  # a grid asks for the same in each of its cells
def _sites(
    sites_of: Callable[[int, int], List[NormPlace]], width: int, image_size: int
) -> Tuple[NormPlace, ...]:
    return tuple(sites_of(width, image_size))


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
    ),
    ModelFacts(
        "convnet",
        "six 3x3 convolutions in three stages, no shortcuts",
        factory="normlab.nets.convnet:convnet",
        default_width=16,
        min_image_size=8,
        sites_of=_convnet,
        drops=("dropout",),
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
    ),
    ModelFacts(
        "randomplain100",
        "100 plain convolutions with random scales and shifts, for untrained diagnostics",
        factory="normlab.nets.randomplain:randomplain100",
        default_width=128,
        min_image_size=8,
        sites_of=_randomplain100,
    ),
    ModelFacts(
        "unet",
        "U-Net of three resolutions: ten 3x3 convolutions, the finer maps joined on the way up",
        factory="normlab.nets.unet:UNet",
        default_width=8,
        min_image_size=8,
        sites_of=_unet,
        task="segmentation",
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
    ),
)
MODELS: Registry[ModelFacts] = Registry(NETWORKS, {facts.name: facts for facts in _OWN})
