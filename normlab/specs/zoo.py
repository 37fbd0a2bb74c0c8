"""The networks of other libraries, by name: `timm/convnext_tiny`. Needs none of the libraries."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from pydantic import ConfigDict, Field, model_serializer, model_validator
from typing_extensions import Literal, Self

from normlab.specs.base import Spec
from normlab.specs.model_facts import ModelFacts
from normlab.specs.registries import Registry
from normlab.specs.starting_weights import content_of

INSTALL = "pip install 'normlab[zoo]'"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # neither a path nor the address of a hub


_FROM_THE_JOB = ("name", "num_classes", "in_channels", "image_size", "task", "data_root", "report")


class ZooOptions(Spec):
    """What every network of a library takes; all other options are passed on to the library."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    pretrained: bool = Field(
        False, description="start with the library's own weights, from the worker's cache"
    )
    download: Literal["refuse", "allow"] = Field(
        "refuse",
        description="whether pretrained weights that are not in the cache are fetched: refuse "
        "or allow",
    )
    weights: Union[str, None] = Field(
        None,
        max_length=256,
        pattern=r"^([A-Za-z0-9_-]+[./])+safetensors$",
        description="start with this file below the operator's data root",
    )
    sha256: Union[str, None] = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file that the network starts with; the service fills it in "
        "for weights when it accepts the job, and for pretrained weights, whose file is on the "
        "worker, you give it",
    )

    @model_validator(mode="after")
    def _with_the_content_of_its_weights(self) -> Self:
        if self.weights is not None:
            found = content_of(self.weights, self.sha256)
            object.__setattr__(self, "sha256", found)  # in place: a caller has this object
        elif self.sha256 is not None and not self.pretrained:
            raise ValueError("sha256 needs the file in weights, or pretrained weights; add one")
        return self

    @model_serializer(mode="wrap")
    def _without_a_content_of_nothing(self, write: Any) -> Dict[str, Any]:
        said: Dict[str, Any] = write(self)
        if self.sha256 is None:  # a job without it is the job that it was before
            said.pop("sha256", None)
        return said

    @model_validator(mode="before")
    @classmethod
    def _leave_what_the_job_tells(cls, given: Any) -> Any:
        told = [name for name in _FROM_THE_JOB if isinstance(given, Mapping) and name in given]
        if told:
            raise ValueError(f"{told[0]} follows from the job's dataset and name; leave it out")
        return given


def without_weights(network: str, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the *options* of a *network* without the weights that one of a library starts with."""
    said = ZooOptions.model_fields if network.partition("/")[0] in LIBRARIES else ()
    return {name: value for name, value in options.items() if name not in said}


class Library(NamedTuple):
    """A library with networks: the package that contains them, and the factory here."""

    package: str
    factory: str
    summary: str
    also: Tuple[str, ...] = ()


LIBRARIES = {
    "timm": Library("timm", "normlab.nets.zoo.of_timm:network", "a network of timm"),
    "torchvision": Library(
        "torchvision", "normlab.nets.zoo.of_torchvision:network", "a network of torchvision"
    ),
    "transformers": Library(
        "transformers",
        "normlab.nets.zoo.of_transformers:network",
        "a network of transformers, from a configuration",
        also=("language",),
    ),
}


def zoo_facts(name: str) -> Optional[ModelFacts]:
    """Return the facts about *name* without its library; None if *name* names no library."""
    library, slash, bare = name.partition("/")
    found = LIBRARIES.get(library)
    if found is None or not slash or not _NAME.fullmatch(bare):
        return None
    return ModelFacts(
        name=name,
        summary=found.summary,
        factory=found.factory,
        default_width=None,
        min_image_size=1,
        sites_of=None,
        form="converted",
        options=ZooOptions,
        given={"name": bare},
        also=found.also,
        package=found.package,
    )


PATTERNS = ", ".join(f"{library}/NAME" for library in LIBRARIES)


class Networks(Registry[ModelFacts]):
    """
    The networks by name; it finds those of libraries too, but does not list them.

    Whether a library has a network of that name is found out by building it.
    """

    def __getitem__(self, name: str) -> ModelFacts:
        """Return the facts about *name*; raise KeyError."""
        found = zoo_facts(name)
        return super().__getitem__(name) if found is None else found
