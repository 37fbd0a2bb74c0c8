"""The components that jobs can use, and the devices that train them."""

from __future__ import annotations

from typing import Dict, List, Union

from pydantic import BaseModel, Field

from normlab.specs.options import OptionRecord


class WorkerRecord(BaseModel):
    """A live worker."""

    id: str
    device: str
    hostname: str
    address: Union[str, None] = Field(
        None, description="the address at which workers of other hosts reach it"
    )
    slots: int
    busy: int
    description: str = Field(description="the device's own name")
    memory_bytes: Union[int, None]
    versions: Dict[str, str]
    able: bool = Field(
        True,
        description="whether it takes jobs: its host has the device, and it has the release "
        "of the service",
    )
    why: str = Field(
        "", description="what its host reports about the device, or why it reports nothing"
    )
    version: Union[str, None] = Field(
        None, description="its release of normlab; null: an earlier one, which does not report this"
    )
    cannot_load: Dict[str, str] = Field(
        default_factory=dict,
        description="plugins of the operator that it could not load, each with the reason",
    )
    last_seen_s: float = Field(description="seconds since its last heartbeat")


class DeviceRecord(BaseModel):
    """A kind of device and the workers that serve it."""

    kind: str
    available: bool
    reason: str
    queued: int
    running: int
    normalizers: List[str] = Field(description="kinds of normalizers that it trains")
    precisions: List[str]
    replicas: str = Field(
        description="the device of each replica of a job, and how replicas communicate"
    )
    workers: List[WorkerRecord]


class NormalizerRecord(BaseModel):
    """A kind of normalizer: its properties, its source, and its options."""

    kind: str
    title: str
    summary: str
    source: str
    acts_on: str = Field(description="what it acts on: activations, weights, both or nothing")
    takes_proxy: bool
    batch_dependent: bool = Field(
        description="whether the output of a sample depends on the rest of its batch"
    )
    stateful: bool = Field(description="whether it keeps state that changes during training")
    channelwise: bool = Field(
        description="whether every channel of the output has mean 0 and variance 1"
    )
    keeps_expressivity: bool = Field(description="whether no statistic of a sample is lost")
    runs_on_ipu: bool
    ipu_reason: str
    options: List[OptionRecord]
    code: Union[str, None] = Field(None, description="name of the plugin that declares it")


class ModelRecord(BaseModel):
    """A network that jobs can use."""

    name: str
    summary: str
    task: str = Field(description="the task; the dataset of a job must have the same one")
    default_width: Union[int, None] = Field(description="the default width; null: it has no width")
    min_image_size: int
    normalizers: int = Field(
        description="number of places with a normalizer; 0: unknown until it is built"
    )
    channels: List[int] = Field(description="different numbers of channels at the default width")
    options: List[OptionRecord] = []
    code: Union[str, None] = Field(None, description="name of the plugin that declares it")


class DatasetRecord(BaseModel):
    """A dataset that jobs can use; values that depend on its files are null."""

    name: str
    summary: str
    task: str = Field(description="the task; the model of a job must have the same one")
    num_classes: Union[int, None]
    channels: Union[int, None]
    image_size: Union[int, None]
    train_size: Union[int, None]
    test_size: Union[int, None]
    available: bool = Field(
        description="whether every file is below the operator's data root and complete; for "
        "trees of pictures: whether there is one with pictures in every class"
    )
    missing: List[str] = Field(
        description="missing files, relative to the data root; damaged files are listed with "
        "what is wrong in parentheses"
    )
    options: List[OptionRecord] = []
    code: Union[str, None] = Field(None, description="name of the plugin that declares it")


class DiagnosticKindRecord(BaseModel):
    """A diagnostic that jobs can ask for."""

    name: str
    summary: str
    when: str
    metrics: str = Field(description="metrics or records that it reports")
    cost: str
    source: str


class PartRecord(BaseModel):
    """A task, a metric, a hook, an optimizer, a schedule or an augmentation for jobs."""

    part: str = Field(description="task, metric, hook, optimizer, schedule or augmentation")
    name: str
    summary: str
    options: List[OptionRecord] = []
    code: Union[str, None] = Field(None, description="name of the plugin that declares it")
