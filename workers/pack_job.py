"""The job process of a pack: several jobs, one network. Runs on Python 3.8; imports torch."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, List, Optional

from accelerators.packs import Member, fit_pack
from normlab.events import Event, Failed, Finished
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.reporting import BufferedReporter
from workers.job_errors import describe, log_end
from workers.job_order import JobOrder
from workers.job_pipes import EventPipe, StopRequest
from workers.job_usage import Meter, ProcessUsage


class MemberPipe:
    """The event pipe of one member: each of its events is sent with the member's number."""

    def __init__(self, pipe: EventPipe, member: int) -> None:
        self._pipe = pipe
        self._member = member
        self.ended = False

    def send(self, event: Event) -> None:
        """Send *event* of this member."""
        self.ended = self.ended or isinstance(event, (Finished, Failed))
        self._pipe.send(event, self._member)


def carry_out_pack(order: JobOrder, pipe: EventPipe, stop: StopRequest) -> None:
    """Train all jobs of *order*; the last event of each is `finished` or `failed`."""
    orders = [order, *order.mates]
    pipes = [MemberPipe(pipe, i) for i in range(len(orders))]
    try:
        _train(orders, pipes, stop)
    except BaseException as e:  # an event of all members: each one receives it
        log_end(e)
        for own, member in zip(orders, pipes):
            if not member.ended:
                member.send(describe(e, own.folder))


def _train(orders: List[JobOrder], pipes: List[MemberPipe], stop: StopRequest) -> None:
    with ExitStack() as stack:
        usage = ProcessUsage()  # about the one process, and reported for each member
        meters = [Meter(pipe.send, usage) for pipe in pipes]
        reporters = [stack.enter_context(BufferedReporter(meter.send)) for meter in meters]

        def ended(member: int, outcome: Any) -> None:
            reporters[member].flush()
            pipes[member].send(_last_event(outcome, orders[member].folder))

        members = [
            Member(order.spec, reporter, _checkpoints(order), stop.of(i), _weights(order))
            for i, (order, reporter) in enumerate(zip(orders, reporters))
        ]
        fit_pack(members, Path(orders[0].data_root), ended=ended, kind=orders[0].device)


def _weights(order: JobOrder) -> Optional[Path]:
    return None if order.weights is None else Path(order.weights)


def _checkpoints(order: JobOrder) -> CheckpointFolder:
    return CheckpointFolder(
        Path(order.folder) / "checkpoints",
        order.spec.fingerprint(),
        [NamedCheckpoint(c.step, Path(c.path), c.sha256) for c in order.resume],
        order.keep_checkpoints,
    )


def _last_event(outcome: Any, folder: str) -> Event:
    if isinstance(outcome, BaseException):
        log_end(outcome)
        return describe(outcome, folder)
    return Finished(step=outcome["steps"], summary=outcome)
