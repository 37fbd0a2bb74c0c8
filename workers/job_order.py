"""The order for a job process: one line of JSON on its standard input."""

from __future__ import annotations

from typing import Dict, List, Union

from pydantic import BaseModel, ConfigDict, Field

from normlab.specs.jobs import JobSpec


class CheckpointReference(BaseModel):
    """A recorded checkpoint, from which a job may resume."""

    step: int
    path: str
    sha256: str
    fingerprint: Union[str, None] = Field(
        None,
        description="fingerprint of the other job that this one continues; null: it is this "
        "job's own checkpoint",
    )


class CodeReference(BaseModel):
    """A plugin that the job uses, and the folder of its files."""

    digest: str
    name: str
    folder: str


class HostOrder(BaseModel):
    """This host among the hosts of a job; seat 0 leads."""

    seat: int
    address: str = Field(description="address at which the other hosts reach this host")
    endpoint: Union[str, None] = Field(
        None, description="address at which the hosts meet; null: this host opens it"
    )


class JobOrder(BaseModel):
    """One attempt at one job, as the supervisor passes it to the job process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    attempt: int
    code: List[CodeReference] = Field(
        default_factory=list, description="plugins, which are loaded before everything else"
    )
    spec: JobSpec
    device: str = Field(description="the kind of device that was chosen")
    folder: str = Field(description="this attempt's own folder; no other process writes there")
    data_root: str = Field(description="the folder of datasets")
    resume: List[CheckpointReference] = Field(
        default_factory=list, description="checkpoints to resume from, the newest first"
    )
    keep_checkpoints: Union[int, None] = Field(
        None,
        description="number of checkpoints to keep; null: all, because the worker deletes "
        "old ones once newer ones are on record",
    )
    threads: Union[int, None] = Field(None, description="the slot's share of the cores")
    memory_bytes: Union[int, None] = Field(None, description="memory for the data of the process")
    norms: Union[List[Dict[str, List[float]]], None] = Field(
        None,
        description="weight norms of the job that optimizer.norms_of names, one entry per epoch",
    )
    weights: Union[str, None] = Field(None, description="the file that init_from names")
    gpus: Union[List[str], None] = Field(
        None, description="GPUs that the process sees, one per replica"
    )
    mates: List[JobOrder] = Field(
        default_factory=list, description="orders of the jobs that train with it as one pack"
    )

    host: Union[HostOrder, None] = Field(
        None, description="this host among the hosts of the job; null: the job has one host"
    )

    def to_line(self) -> bytes:
        """Encode as one line of JSON, including the newline."""
        return self.model_dump_json().encode() + b"\n"
