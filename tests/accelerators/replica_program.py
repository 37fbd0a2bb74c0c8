"""
Two replicas train one case after another: `python -m ...replica_program FOLDER DEVICE`.

With a third argument, the number of a host, there are two hosts with a replica each: this one, and
one whose folder is beside this one's. They train the cases of `ON_HOSTS` alone.
"""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from accelerators import open_accelerator
from accelerators.meeting import Meeting, opened
from accelerators.replica_group import joined
from accelerators.replicas import launch
from normlab.specs import sharding
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import SilentReporter
from tests.normlab.training.recording import Recorder, small_job
from tests.normlab.training.test_tasks import LANGUAGE, SEGMENTATION

REPLICAS = 2
# In training, these kinds depend only on their micro-batch and their weights.
STATELESS = [
    "batch",
    "layer",
    "instance",
    "group",
    "rms",
    "dyt",
    "filter_response",
    "evonorm_s0",
    "l1_batch",
    "linf_batch",
    "topk_batch",
    "switchable",
    "sparse_switchable",
    "meta",
    "weight",
    "bounded_weight",
    "weight_standardized",
    "scaled_weight_standardized",
    "none",
    "segmentation",
    "language",
]
_OTHER_TASKS: dict[str, Any] = {
    "segmentation": {**SEGMENTATION, "augmentation": {}, "epochs": 4},
    "language": {**LANGUAGE, "augmentation": {}, "epochs": 4},
}
_UPDATE = {"batch_size": 4, "epochs": 1, "max_steps": 4, "augmentation": {"crop": 1}}
_OPTIMIZER = {"name": "sgd", "lr": 0.02, "weight_decay": 1e-3, "clip_norm": 2.0}


def averaged(kind: str, **fields: Any) -> JobSpec:
    """Return a job with two replicas, each accumulating two micro-batches."""
    chosen = _OTHER_TASKS.get(kind, {"normalizer": kind})
    update = {**chosen, **_UPDATE, "optimizer": _OPTIMIZER, "gradient_accumulation": 2}
    kept = {name: chosen[name] for name in ("augmentation", "epochs") if name in chosen}
    return small_job(**{**update, **kept, "replicas": REPLICAS, **fields})


def accumulated(kind: str) -> JobSpec:
    """Return the job of one process with the same micro-batches."""
    return averaged(kind, replicas=1, gradient_accumulation=4)


def synced() -> JobSpec:
    """Return a job with two replicas that share their statistics."""
    job = {"kind": "batch", "sync": True}
    return small_job(normalizer=job, **_UPDATE, optimizer=_OPTIMIZER, replicas=REPLICAS)


def whole_batch() -> JobSpec:
    """Return the job of one process with the samples of both replicas in its batch."""
    return small_job(normalizer="batch", **{**_UPDATE, "batch_size": 8}, optimizer=_OPTIMIZER)


CASES = {**{kind: averaged(kind) for kind in STATELESS}, "synced": synced()}
SHARDED = ["sharded"] if sharding.has_engine(torch.__version__) else []
CASES.update({name: synced().model_copy(update={"sharding": "full"}) for name in SHARDED})


def train(spec: JobSpec, folder: Path, group: Any = None, device: str = "cpu") -> dict[str, Any]:
    """Train, and return the losses and the state of the session."""
    leads = group is None or group.rank == 0
    if group is not None:
        group.sharded = spec.sharding == "full"
    recorder = Recorder()
    accelerator = open_accelerator(device, spec, 1, group)
    reporter = recorder if leads else SilentReporter()
    checkpoints = CheckpointFolder(folder, spec.fingerprint())
    fit(spec, accelerator, reporter, checkpoints, folder, lambda: None, group)
    if not leads:
        return {}
    last = recorder.named_checkpoints()[-1].path
    saved = torch.load(last, weights_only=True)["state"]["session"]
    points = {name: recorder.points[name] for name in ("train/loss", "train/accuracy")}
    return {"points": points, "session": saved}


ON_HOSTS = ("batch", "synced", *SHARDED)


def main() -> int:
    """Train every case, and save the results in the folder that the argument names."""
    folder, device, *host = Path(sys.argv[1]), *sys.argv[2:]
    if not host:
        return _run(folder, device, CASES, None)
    cases = {name: CASES[name].model_copy(update={"hosts": 2}) for name in ON_HOSTS}
    note = folder.parent / "endpoint"
    with ExitStack() as stack:
        if host == ["0"]:
            endpoint = stack.enter_context(opened("127.0.0.1"))
            note.with_suffix(".part").write_text(endpoint)
            note.with_suffix(".part").rename(note)
        while not note.exists():
            time.sleep(0.01)
        meeting = Meeting("a-run", 2, int(host[0]), "127.0.0.1", note.read_text())
        return _run(folder, device, cases, meeting)


def _run(folder: Path, device: str, cases: dict[str, JobSpec], meeting: Meeting | None) -> int:
    first = 0 if meeting is None else meeting.seat

    def work(number: int) -> None:
        rank = first + number
        try:
            with joined(device, rank, REPLICAS, folder, meeting) as group:
                found = {
                    name: train(spec, folder / name, group, device) for name, spec in cases.items()
                }
        except BaseException:
            traceback.print_exc()
            raise
        if rank == 0:
            torch.save(found, folder / "found.pt")

    here = REPLICAS if meeting is None else REPLICAS // meeting.hosts
    return max(launch(here, work, folder, meeting).values(), default=0)


if __name__ == "__main__":
    sys.exit(main())
