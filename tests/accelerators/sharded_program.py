"""Two replicas make the same updates with whole models and with shards: `python -m ... FOLDER`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from accelerators import open_accelerator
from accelerators.replica_group import ReplicaGroup, joined
from accelerators.replicas import launch
from accelerators.shared_mean import NetworkMean
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import SPECS
from normlab.training.accelerator import Session
from normlab.training.starting import start_from
from tests.normlab.training.recording import small_job

REPLICAS = 2
KINDS = [spec.model_fields["kind"].default for spec in SPECS if spec.shard_refusal is None]
UPDATES = 2
RESUMED = ("online", "sparse_switchable", "adamw", "lamb", "ema", "frozen")
NO_DATA: Any = None  # only init_from asks for them
_CLASSES, _SIDE = 10, 16
_ADAMW = {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}
OTHERS: dict[str, dict[str, Any]] = {
    "synced": {"normalizer": {"kind": "batch", "sync": True}},
    "proxy": {"normalizer": {"kind": "group", "proxy": True}},
    "adamw": {"optimizer": {**_ADAMW, "clip_norm": 0.5}},
    "clip_value": {"optimizer": {**_ADAMW, "clip_value": 0.01}},
    "clip_ratio": {"optimizer": {**_ADAMW, "clip_ratio": 0.02}},
    "rmsprop": {"optimizer": {"name": "rmsprop", "lr": 0.001}},
    "lamb": {"optimizer": {"name": "lamb", "lr": 0.01, "weight_decay": 0.1}},
    "lion": {"optimizer": {"name": "lion", "lr": 0.001, "weight_decay": 0.1}},
    "ema": {"ema": {"decay": 0.5}},
    "frozen": {"freeze": ["0.*"]},
    "transformer": {"normalizer": "layer", "model": {"name": "vit", "width": 16}},
    "convnext": {"normalizer": "layer", "model": {"name": "convnext", "width": 8}},
}


def job(name: str) -> JobSpec:
    """Return the job of a case: a kind of normalizer, or one of OTHERS."""
    chosen = OTHERS.get(name, {"normalizer": name})
    sgd = {"name": "sgd", "lr": 0.02, "weight_decay": 1e-3, "clip_norm": 2.0}
    update = {"batch_size": 4, "gradient_accumulation": 2, "replicas": REPLICAS}
    return small_job(**{"optimizer": sgd, **update, **chosen})


def _update(session: Session, number: int, rank: int) -> None:
    torch.manual_seed(1000 * number + rank)
    x, y = torch.randn(8, 3, _SIDE, _SIDE).double(), torch.randint(_CLASSES, (8,))
    session.prepare(0.01, number / UPDATES)
    session.train(x, y)


def trained(spec: JobSpec, group: ReplicaGroup, pause: int = UPDATES) -> dict[str, Any]:
    """Return the state after all updates, made by two sessions if there is a *pause*."""
    state: dict[str, Any] = {}
    for first, last in ((0, pause), (pause, UPDATES)):
        if first == last:
            break
        torch.manual_seed(spec.seed)
        model = build(spec.model, spec.normalizer, 3, _CLASSES, _SIDE).double()
        start_from(model, spec, NO_DATA, None)
        with open_accelerator("cpu", spec, REPLICAS, group).session(model, spec) as session:
            if state:
                session.load_state_dict(state)
            for number in range(first, last):
                _update(session, number, group.rank)
            state = group.share(session.state_dict())
            torch.manual_seed(0)
            test = session.evaluate(torch.randn(6, 3, _SIDE, _SIDE).double(), torch.arange(6))
            found = {"test": test.loss, "weights": session.weights()}
    return {**state, **found}


def _case(name: str, group: ReplicaGroup) -> dict[str, Any]:
    found = {}
    for how in ("whole", "sharded"):
        group.sharded = how == "sharded"
        found[how] = trained(job(name), group)
    if name in RESUMED:
        found["resumed"] = trained(job(name), group, pause=1)
    return found


def main() -> int:
    """Train every case, and save the states in the folder that the argument names."""
    folder = Path(sys.argv[1])

    def work(rank: int) -> None:
        try:
            with joined("cpu", rank, REPLICAS, folder) as group:
                group._averager = NetworkMean(REPLICAS)  # the one of a host is of float32
                found = {name: _case(name, group) for name in (*KINDS, *OTHERS)}
        except BaseException:
            traceback.print_exc()
            raise
        if rank == 0:
            torch.save(found, folder / "found.pt")

    return max(launch(REPLICAS, work, folder).values(), default=0)


if __name__ == "__main__":
    sys.exit(main())
