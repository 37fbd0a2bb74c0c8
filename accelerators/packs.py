"""A pack of jobs in one process: each runs its ordinary training, and they share each update."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence

import torch

from accelerators.cpu_packs import CpuPacks
from accelerators.joint_session import JointSession
from accelerators.member_decisions import Agreement, Decisions
from accelerators.pack_members import MemberAccelerator
from normlab.data.opening import opened
from normlab.data.stream import Stream
from normlab.data.training_data import TrainingData
from normlab.errors import FieldProblem, InvalidSpec, PackFellApart
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from normlab.specs.packs import obstacle
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import StopRequest, fit
from normlab.training.reporting import Reporter


class Member(NamedTuple):
    """A job of a pack, with the arguments of `fit` for it."""

    spec: JobSpec
    reporter: Reporter
    checkpoints: CheckpointFolder
    should_stop: StopRequest
    weights: Optional[Path] = None  # the file that its `init_from` names


def fit_pack(
    members: Sequence[Member],
    data_root: Path,
    threads: Optional[int] = None,
    ended: Callable[[int, Any], None] = lambda member, outcome: None,
    kind: str = "cpu",
) -> List[Any]:
    """
    Train the *members* as one pack; return the result or error of each one's `fit`.

    Each has its own data order, initial weights, metrics, events and checkpoints, as if the job
    ran alone. A member that fails, is stopped or diverges leaves, and the others continue.
    Members that resume must have done the same number of updates.

    Args:
        threads: the pack's threads on the host; None is one.
        ended: called with a member's number and outcome when it leaves, while the others continue.
        kind: the kind of device.

    Raises:
        InvalidSpec: the jobs cannot be members of one pack; the message names the field.
        DeviceUnavailable: the device is not available here.
    """
    specs = [member.spec for member in members]
    problem = obstacle(specs, kind)
    if problem is not None:
        rule = f"{problem.rule}; train such jobs one by one"
        raise InvalidSpec.of([FieldProblem(problem.field, rule)])
    return _fit_on(open_packs(kind, specs[0], threads), members, data_root, ended)


def open_packs(kind: str, spec: JobSpec, threads: Optional[int] = None) -> CpuPacks:
    """Open the device *kind* for packs of jobs such as *spec*."""
    facts = DEVICES[kind].packs
    if facts is None:
        raise InvalidSpec(f"device: packs do not run on {kind}")
    opened: CpuPacks = importlib.import_module(facts.adapter).open_packs(spec, threads)
    return opened


def _fit_on(
    device: CpuPacks,
    members: Sequence[Member],
    data_root: Path,
    ended: Callable[[int, Any], None],
) -> List[Any]:
    pack = JointSession([member.spec for member in members], device)
    decisions = Decisions(pack.lockstep, [member.should_stop for member in members])
    shared = _Shared(device)
    works = [
        partial(
            fit,
            member.spec,
            MemberAccelerator(pack, i),
            member.reporter,
            member.checkpoints,
            data_root,
            partial(decisions.stop, i),
            Agreement(decisions),
            weights=member.weights,
            open_data=shared,
        )
        for i, member in enumerate(members)
    ]
    with device.computing():
        try:
            return pack.lockstep.run(works, ended)
        finally:
            pack.close()


class _Shared:
    """Opens the data once for all members, if this uses no random numbers of a member."""

    def __init__(self, device: CpuPacks) -> None:
        self._device = device
        self._data: Optional[TrainingData] = None

    @contextmanager
    def __call__(self, spec: JobSpec, root: Path, stop: StopRequest) -> Iterator[TrainingData]:
        if self._data is not None:
            yield self._data
            return
        before = torch.get_rng_state()
        with opened(spec, root, stop) as data:
            if isinstance(data, Stream):
                raise PackFellApart(f"a pack holds its data in memory; these are {data.loading}")
            data = data.placed(self._device.place)  # one copy for all members
            if torch.equal(before, torch.get_rng_state()):
                self._data = data
            yield data
