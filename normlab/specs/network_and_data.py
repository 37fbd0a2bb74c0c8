"""The network and the dataset of a job, and how its data are read."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Literal, Optional, Union

from pydantic import Field, ValidationInfo, field_validator

from normlab.specs.base import Label, Spec, is_stored
from normlab.specs.dataset_contents import FileContents, contents_of
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.datasets import DATASETS
from normlab.specs.json_values import Count
from normlab.specs.models import MODELS
from normlab.specs.options import checked_options

IN_MEMORY_BYTES = 1 << 30
"""A dataset of at most this many decoded bytes is kept in memory if `mode` is auto."""


class LoadingSpec(Spec):
    """Whether the data are kept in memory or decoded as they are read, and by whom."""

    mode: Literal["auto", "memory", "stream"] = Field(
        "auto",
        description="when samples are decoded. memory: all at the start. stream: those of each "
        "update in worker processes. auto: stream if the decoded samples take more than 1 GiB, "
        "else memory",
    )
    workers: Union[int, None] = Field(
        None,
        ge=0,
        le=64,
        description="stream only: number of processes that decode for each replica; 0: the "
        "training process decodes; null: one for each core, at most 4",
    )
    prefetch: int = Field(
        2,
        ge=1,
        le=64,
        description="stream only: number of updates that each of these processes reads ahead",
    )


class ModelSpec(Spec):
    """A network of the catalogue (`GET /v1/models`)."""

    name: Label = Field(
        "preresnet8",
        max_length=128,
        description="a name in GET /v1/models, or the name of another library's network, such "
        "as timm/convnext_tiny",
    )
    width: Union[int, None] = Field(
        None,
        ge=1,
        le=4096,
        description="number of channels of the first stage; null: the model's own number",
    )
    zero_last_scale: bool = Field(
        False,
        description="let the scale of the last normalizer in each residual branch start at 0, "
        "so that every block starts as its shortcut (resnets only)",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="probability that an input of the last layer is left out"
    )
    stochastic_depth: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that a sample skips the last residual branch; it rises linearly "
        "from 0 at the stem (resnets only)",
    )
    options: Dict[str, Any] = Field(
        default_factory=dict,
        validate_default=True,
        description="options of a network of your own, which `GET /v1/models` lists, or of "
        "another library's network, which its documentation lists",
    )

    def __hash__(self) -> int:
        """Hash by value: the options are a dictionary, which has no hash."""
        return hash(self.model_dump_json())

    @property
    def drops(self) -> bool:
        """Whether parts of the network are left out at random in training."""
        return self.dropout > 0 or self.stochastic_depth > 0

    @field_validator("options")
    @classmethod
    def _options_of_the_network(cls, given: Dict[str, Any], info: ValidationInfo) -> Dict[str, Any]:
        facts = MODELS.get(info.data.get("name", ""))
        if facts is None or is_stored(info):
            return given
        return checked_options(facts.options, f"the network {facts.name!r}", given)


class DatasetSpec(Spec):
    """A dataset of the catalogue (`GET /v1/datasets`)."""

    name: Label = Field("shapes32", max_length=64, description="a name in GET /v1/datasets")
    folder: Union[str, None] = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=128,
        description="for pictures: the name of their folder below the operator's data root",
    )
    image_size: Union[int, None] = Field(
        None, ge=8, le=1024, description="for pictures: side after resizing, in pixels"
    )
    skip_broken: bool = Field(
        False,
        description="for pictures: leave out and count those that cannot be read, instead of "
        "ending the job",
    )
    file: Union[str, None] = Field(
        None,
        max_length=256,
        pattern=r"^[A-Za-z0-9_./-]+\.(npz|safetensors)$",
        description="file only: the .npz or .safetensors file below the operator's data root",
    )
    contents: Union[FileContents, None] = Field(
        None,
        validate_default=True,
        description="file only: what the file contains; the service fills it in when it accepts "
        "the job",
    )
    train_size: Union[Count, None] = Field(
        None, description="number of samples to train on, the first ones; null: all"
    )
    test_size: Union[Count, None] = Field(
        None, description="number of samples to evaluate on, the first ones; null: all"
    )
    options: Dict[str, Any] = Field(
        default_factory=dict,
        validate_default=True,
        description="options of a dataset of your own, which `GET /v1/datasets` lists",
    )

    def __hash__(self) -> int:
        """Hash by value: the options are a dictionary, which has no hash."""
        return hash(self.model_dump_json())

    def facts(self) -> Optional[DatasetFacts]:
        """Return the facts about the dataset, with those of its file; None if it is unknown."""
        facts = DATASETS.get(self.name)
        if facts is None or self.contents is None:
            return facts
        return dataclasses.replace(facts, **self.contents.model_dump(exclude={"sha256"}))

    @field_validator("file")
    @classmethod
    def _file_is_below_the_data_root(cls, file: Optional[str], info: ValidationInfo) -> Any:
        if file is None or is_stored(info):
            return file
        if file.startswith("/") or ".." in file.split("/"):
            raise ValueError(f"{file} leads out of the operator's data root; name a file below it")
        if _is_of_arrays(info):
            contents_of(file)
        return file

    @field_validator("contents")
    @classmethod
    def _contents_of_the_file(cls, given: Any, info: ValidationInfo) -> Any:
        if is_stored(info):
            return given
        file = info.data.get("file") if _is_of_arrays(info) else None
        return None if file is None else contents_of(file) or given

    @field_validator("options")
    @classmethod
    def _options_of_the_dataset(cls, given: Dict[str, Any], info: ValidationInfo) -> Dict[str, Any]:
        facts = DATASETS.get(info.data.get("name", ""))
        if facts is None or is_stored(info):
            return given
        return checked_options(facts.options, f"the dataset {facts.name!r}", given)


def _is_of_arrays(info: ValidationInfo) -> bool:
    facts = DATASETS.get(info.data.get("name", ""))
    return facts is not None and facts.of_arrays
