"""
An emulation of PopTorch 3.4's documented behaviour on the host with plain torch.

It has the same names, batch layout and errors, so a program written for this subset runs on
`poptorch` unchanged. Numbers are those of float32 arithmetic on the host. Speed, memory limits,
half precision, compile time and streams of random numbers are not modelled (see `NOT_MODELLED`).
"""

from accelerators.poptorch_emulation import optim
from accelerators.poptorch_emulation.dataloader import DataLoader
from accelerators.poptorch_emulation.enums import (
    ConnectionType,
    DataLoaderMode,
    MeanReductionStrategy,
    OutputMode,
    ReductionType,
)
from accelerators.poptorch_emulation.errors import Error, RecoverableError, UnrecoverableError
from accelerators.poptorch_emulation.executor import PoplarExecutor, inferenceModel, trainingModel
from accelerators.poptorch_emulation.losses import identity_loss
from accelerators.poptorch_emulation.options import Options
from accelerators.poptorch_emulation.tracing import cond, for_loop, isRunningOnIpu

__version__ = "3.4.0"  # the version of PopTorch that this emulates

NOT_MODELLED = (
    "throughput and latency",
    "memory limits",
    "half-precision arithmetic",
    "compile time",
    "random number streams",
)


def ipuHardwareIsAvailable(num_ipus: int = 1) -> bool:
    """Return False, because the host has no IPU."""
    return False


__all__ = [
    "NOT_MODELLED",
    "ConnectionType",
    "DataLoader",
    "DataLoaderMode",
    "Error",
    "MeanReductionStrategy",
    "Options",
    "OutputMode",
    "PoplarExecutor",
    "RecoverableError",
    "ReductionType",
    "UnrecoverableError",
    "cond",
    "for_loop",
    "identity_loss",
    "inferenceModel",
    "ipuHardwareIsAvailable",
    "isRunningOnIpu",
    "optim",
    "trainingModel",
]
