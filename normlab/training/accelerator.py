"""What the training loop asks of a device, whatever the device is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ContextManager, Dict, Optional

from torch import Tensor, nn
from typing_extensions import Protocol

from normlab.specs.jobs import JobSpec


@dataclass(frozen=True)
class Probe:
    """Whether a device can be used, why, and what it is; *facts* go into every result."""

    available: bool
    reason: str
    description: str
    memory_bytes: Optional[int]
    versions: Dict[str, str] = field(default_factory=dict)
    facts: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """
    What a step found, still on the device: reading a number there may wait for the device.

    Args:
        loss: mean loss of the predictions, (), float32.
        correct: how many of them are right, ().
        predictions: how many there were: one a sample, or one a position of each.
        tally: of an evaluation, what the task's measure sums up (`training/tasks.py`).
    """

    loss: Tensor
    correct: Tensor
    predictions: int
    tally: Optional[Tensor] = None


class Session(Protocol):
    """A model on a device, with its optimizer."""

    def place(self, x: Tensor) -> Tensor:
        """Return *x* where batches are to be cut from it: on the device, or on the host."""

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """
        Settle how many threads the host computes with, before the first update, and return it.

        Sums are split among the threads, so the number decides their last bits.

        Args:
            recorded: of the attempt that this one goes on from; None: nothing is given.
            x, y: a micro-batch, to try on a copy of the model.
            updates: that are left to make.
        """

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Set what the next update uses; *progress* is the share of the training done, 0 to 1."""

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update from `samples_per_update` samples, in micro-batches of `batch_size`."""

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* as in use, and change nothing."""

    def inspect(self) -> nn.Module:
        """Return the model as it stands now, to look at and not to change."""

    def state_dict(self) -> Dict[str, Any]:
        """Copy the whole state to the host: tensors and plain numbers in dictionaries."""

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""

    def memory_peak_bytes(self) -> Optional[int]:
        """Return the most memory that was in use, or None where nobody counts."""


class Accelerator(Protocol):
    """
    A kind of device, opened for one job.

    *kind* is `cpu`, `cuda` or `ipu`; *runtime* says what stands behind it, and *timing_valid*
    is false where its speed says nothing of the device (an emulation).
    """

    kind: str
    runtime: str
    timing_valid: bool

    def probe(self) -> Probe:
        """Say whether the device is there, and what it is."""

    def session(self, model: nn.Module, spec: JobSpec) -> ContextManager[Session]:
        """
        Bring *model* to the device, ready to train as *spec* says, and back at the end.

        Raises:
            DeviceUnavailable: it cannot be had now.
            UnsupportedModel: it cannot run this model, or not in this way.
            OutOfDeviceMemory: in here or inside the context, where the job does not fit.
        """
