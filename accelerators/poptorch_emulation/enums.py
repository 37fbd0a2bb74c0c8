"""The enumerations of PopTorch's options."""

from __future__ import annotations

from enum import Enum


class OutputMode(Enum):
    """Which micro-batches' outputs a call returns."""

    Default = "default"
    All = "all"
    Sum = "sum"
    Final = "final"
    EveryN = "every_n"


class ReductionType(Enum):
    """How gradients of micro-batches and replicas are combined."""

    Mean = "mean"
    Sum = "sum"
    NoReduction = "none"


class MeanReductionStrategy(Enum):
    """When a mean over micro-batches is divided by their number."""

    Running = "running"
    Post = "post"
    PostAndLoss = "post_and_loss"


class ConnectionType(Enum):
    """When a device is attached."""

    Always = "always"
    OnDemand = "on_demand"
    Never = "never"


class DataLoaderMode(Enum):
    """Which process loads: this process or another one."""

    Sync = "sync"
    Async = "async"
    AsyncRebatched = "async_rebatched"
