"""Whole trainings for comparisons: alone, in a pack, in float64, and with one bit changed."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence
from unittest.mock import patch

import torch
from torch import Tensor

from accelerators import open_accelerator, pack_members
from accelerators.packs import Member, fit_pack
from accelerators.torch_session import TorchSession
from normlab import nets
from normlab.specs.jobs import JobSpec
from normlab.training import loop
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from normlab.training.reporting import SilentReporter


class Trained(NamedTuple):
    """The final accuracy of a training, and the loss of each update."""

    accuracy: float
    losses: Sequence[float]


class _Losses(SilentReporter):
    def __init__(self) -> None:
        self.losses: List[float] = []

    def metric(self, name: str, step: int, value: float) -> None:
        """Keep a loss, and drop the others."""
        if name == "train/loss":
            self.losses.append(value)


def alone(specs: Sequence[JobSpec], folder: Path) -> List[Trained]:
    """Train each of *specs* alone."""
    found = []
    for i, spec in enumerate(specs):
        reporter = _Losses()
        saved = CheckpointFolder(folder / f"alone-{i}", spec.fingerprint())
        device = open_accelerator("cpu", spec, 1)
        found.append(_trained(fit(spec, device, reporter, saved, folder, lambda: None), reporter))
    return found


def together(specs: Sequence[JobSpec], folder: Path) -> List[Trained]:
    """Train *specs* as one pack."""
    reporters = [_Losses() for _ in specs]
    members = [
        Member(spec, reporter, CheckpointFolder(folder / f"packed-{i}", spec.fingerprint()), _never)
        for i, (spec, reporter) in enumerate(zip(specs, reporters))
    ]
    outcomes = fit_pack(members, folder)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [_trained(ended, reporter) for ended, reporter in zip(outcomes, reporters)]


@contextmanager
def in_float64() -> Iterator[None]:
    """Build networks and place samples in float64."""
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        for session in (TorchSession, pack_members.MemberSession):
            stack.enter_context(patch.object(session, "place", _place))
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@contextmanager
def one_bit_changed() -> Iterator[None]:
    """Build networks in which one weight has another last bit."""

    def build(*args: Any, **kwargs: Any) -> Any:
        net = nets.build(*args, **kwargs)
        with torch.no_grad():
            first = next(net.parameters()).view(-1)[:1]
            first.copy_(torch.nextafter(first, torch.full_like(first, torch.inf)))
        return net

    with patch.object(loop, "build", build):
        yield


def _place(session: object, x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _never() -> None:
    """Request no decision."""


def _trained(ended: Dict[str, Any], reporter: _Losses) -> Trained:
    return Trained(float(ended["val/accuracy"]), reporter.losses)
