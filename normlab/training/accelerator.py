"""The interface between the training loop and any kind of device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ContextManager, Dict, Mapping, Optional

from torch import Tensor, nn
from typing_extensions import Protocol

from normlab.specs.jobs import JobSpec


@dataclass(frozen=True)
class Probe:
    """Whether a device can be used, why, and its description; *facts* go into every result."""

    available: bool
    reason: str
    description: str
    memory_bytes: Optional[int]
    versions: Dict[str, str] = field(default_factory=dict)
    facts: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """
    The results of a step, still on the device: reading a number may wait for the device.

    Args:
        loss: mean loss of the predictions, (), float32.
        correct: the number of correct predictions, ().
        predictions: the number of predictions: one per sample, or one per position.
        tallies: in an evaluation, the sums for each measure (`training/tasks.py`).
    """

    loss: Tensor
    correct: Tensor
    predictions: int
    tallies: Mapping[str, Tensor] = field(default_factory=dict)


class Session(Protocol):
    """A model on a device, with its optimizer."""

    def place(self, x: Tensor) -> Tensor:
        """Return *x* at the place from which batches are taken: on the device, or on the host."""

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """
        Set the number of host threads before the first update, and return it.

        Sums are divided among the threads, so the number affects their last bits.

        Args:
            recorded: the number of the attempt that this one resumes; None if there is none.
            x, y: a micro-batch, to try on a copy of the model.
            updates: the number of remaining updates.
        """

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Set the values for the next update; *progress* is the finished share, 0 to 1."""

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update from `samples_per_update` samples, in micro-batches of `batch_size`."""

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* in evaluation mode, and change nothing."""

    def inspect(self) -> nn.Module:
        """Return the current model for reading; do not change it."""

    def evaluated(self) -> nn.Module:
        """Return the model that evaluations use: with averaged weights, or that of `inspect`."""

    def weights(self) -> Dict[str, Tensor]:
        """Copy parameters and buffers of `evaluated` to the host; all replicas take part."""

    def state_dict(self) -> Dict[str, Any]:
        """Copy the whole state to the host: tensors and plain numbers in dictionaries."""

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""

    def memory_peak_bytes(self) -> Optional[int]:
        """Return the peak memory in use, or None if it is not measured."""


class Accelerator(Protocol):
    """
    A kind of device, opened for one job.

    *kind* is `cpu`, `cuda` or `ipu`; *runtime* names the implementation, and *timing_valid*
    is false if its speed says nothing about the device (an emulation).
    """

    kind: str
    runtime: str
    timing_valid: bool

    def probe(self) -> Probe:
        """Report whether the device is available, and describe it."""

    def session(self, model: nn.Module, spec: JobSpec) -> ContextManager[Session]:
        """
        Move *model* to the device, ready to train according to *spec*, and move it back at the end.

        Raises:
            DeviceUnavailable: it is not available now.
            UnsupportedModel: it cannot run this model, or not in this way.
            OutOfDeviceMemory: the job does not fit; raised here or inside the context.
        """
