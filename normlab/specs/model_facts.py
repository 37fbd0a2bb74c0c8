"""The facts about a network before it is built: its places for normalizers, and its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from typing_extensions import Literal

from normlab.specs.base import Spec


@dataclass(frozen=True)
class NormPlace:
    """A place for a normalizer in a network: its channels, and the side of its map."""

    channels: int
    side: int


class SampleSize(NamedTuple):
    """The sizes that a network is built for: channels and side of its samples, and classes."""

    channels: int
    classes: int
    side: int


@dataclass(frozen=True)
class ModelFacts:
    """
    The facts about a network that are known before it is built.

    Attributes:
        factory: the module:function that makes it.
        sites_of: from width and image side to the places of its normalizers; a test compares it
            with the network that the factory makes. None if only *recorded* has them.
        norm_ends_branch: the last layer of each residual branch is a normalizer.
        task: a name in specs/tasks.py.
        recurrent: whether its normalizers are at gates, where only some kinds can be used.
        form: what the factory takes: a `nets.sites.NetSpec`; `norm`, which makes normalizers; or
            neither, and its norm layers are converted.
        options: the options of the factory.
        recorded: its places with default options, if it was built to find them.
        drops: those of a job's fields "dropout" and "stochastic_depth" that it has.
        unfit: the reason why it cannot be built for a size of samples, if that was tried.
        given: the arguments of the factory besides the options.
        also: further tasks; for each of them it gets another head.
        package: the library that the factory needs; None if it needs only torch.
        packs: whether all its layers have a form for packs.
        cost: the factor by which it costs more than its places for normalizers suggest.
        pack_gain: the measured gain of its packs over that of the model; its samples cost more
            in a pack.
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
    given: Mapping[str, Any] = field(default_factory=dict)
    also: Tuple[str, ...] = ()
    package: Optional[str] = None
    drops: Tuple[str, ...] = ()
    packs: bool = False
    cost: float = 1.0
    pack_gain: float = 1.0

    def does(self, task: str) -> bool:
        """Return whether it can be built for *task*."""
        return task == self.task or task in self.also

    def sites(self, width: Optional[int], image_size: int) -> List[NormPlace]:
        """List the normalizers in the order in which a sample passes them; empty if unknown."""
        asked = width or self.default_width
        if self.sites_of is None or asked is None:
            return []
        return list(_sites(self.sites_of, asked, image_size))

    def channels(self, width: Optional[int]) -> List[int]:
        """List the channels of each normalizer; with default options, if it was built."""
        first = next(iter(self.recorded.values()), ())
        sites = first if self.sites_of is None else self.sites(width, 4 * self.min_image_size)
        return [site.channels for site in sites]


@lru_cache(4096)  # each cell of a grid asks the same question
def _sites(
    sites_of: Callable[[int, int], List[NormPlace]], width: int, image_size: int
) -> Tuple[NormPlace, ...]:
    return tuple(sites_of(width, image_size))
