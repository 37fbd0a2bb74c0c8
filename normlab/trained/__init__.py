"""Trained networks in plain PyTorch again: `load` fetches a job's weights and its test data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple, Optional, Union

from torch import nn

from normlab.client import Client
from normlab.data.opening import data_of
from normlab.errors import Conflict
from normlab.records import JobDetail
from normlab.stacks.addresses import Address, datasets_of, resolve
from normlab.trained.code import spec_with_code
from normlab.trained.test_data import TestData
from normlab.training.bare import network_of

__all__ = ["Loaded", "TestData", "load"]


class Loaded(NamedTuple):
    """A trained network in evaluation mode, and the test set of its job."""

    model: nn.Module
    data: TestData


def load(
    job: str,
    *,
    client: Optional[Client] = None,
    data_root: Union[str, Path, None] = None,
    trust_code: bool = False,
) -> Loaded:
    """
    Return the network of a finished job, and its test data: `model, data = normlab.load(job)`.

    `data.evaluate(model)` gives the metrics that the job stored, to the bit if the device was a CPU
    of the same kind: it is the code of the job's own evaluation, with its number of threads.

    Args:
        job: its id, or a unique end of it.
        client: a connection; None: the stack that runs on this machine.
        data_root: the folder of datasets that are files; None: NORMLAB_DATA_ROOT, or that of the
            stack on this machine.
        trust_code: run the plugins that the job uses, which are code that somebody uploaded.

    Raises:
        Conflict: the job has not succeeded, or kept no weights.
        InvalidSpec: it uses plugins, and *trust_code* is false; or the weights do not fit.
        DatasetUnusable: the dataset's files are not below *data_root*.
    """
    here = client or _local()
    try:
        found = here.get(job)
        check_finished(found)
        return _loaded(here, found, Path(data_root) if data_root else datasets_here(), trust_code)
    finally:
        if client is None:
            here.close()


def check_finished(job: JobDetail) -> None:
    """Raise Conflict if *job* has no final weights."""
    if job.state != "succeeded":
        raise Conflict(f"job {job.id} is {job.state}; only one that succeeded has final weights")


def datasets_here() -> Path:
    """Return the folder that NORMLAB_DATA_ROOT names, or that of the stack on this machine."""
    named = os.environ.get("NORMLAB_DATA_ROOT")
    return Path(named) if named else datasets_of(Address(None, None))


def _local() -> Client:
    return Client.of(resolve(Address(None, None)))


def _loaded(client: Client, job: JobDetail, data_root: Path, trust_code: bool) -> Loaded:
    spec = spec_with_code(client, job, trust_code)
    data = data_of(spec, data_root)
    with tempfile.TemporaryDirectory(prefix="normlab-weights-") as folder:
        path = client.save_weights(job.id, Path(folder) / "weights.safetensors")
        model = network_of(spec, data, path)
    threads = job.attempts[-1].environment.get("threads") if job.attempts else None
    return Loaded(model, TestData(spec, data, threads))
