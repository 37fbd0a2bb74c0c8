"""Options: with defaults and strict types, frozen from the first use on."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Dict, List, Mapping, Optional

import torch
from typing_extensions import Self

from accelerators.poptorch_emulation.enums import ConnectionType, OutputMode
from accelerators.poptorch_emulation.option_groups import (
    Freezable,
    PrecisionOptions,
    TrainingOptions,
    boolean,
    positive,
    refuse_if,
)

# Setters of PopTorch without an effect in float32 on one host: recorded.
_WITHOUT_EFFECT = {
    "autoRoundNumIPUs",
    "disableModuleNamescope",
    "enableExecutableCaching",
    "enableProfiling",
    "enableStableNorm",
    "logCycleCount",
    "logDir",
    "modelName",
    "syncPattern",
    "useIpuId",
}
# Setters that would change results, or need other hardware: refused.
_NOT_ACTED_OUT = {
    "Distributed",
    "TensorLocations",
    "_Popart",
    "enableSyntheticData",
    "from_json",
    "loadFromFile",
    "setExecutionStrategy",
    "updatableNamedBuffers",
    "useOfflineIpuTarget",
}


class Options(Freezable):
    """The options of a compiled program; every setter returns the options."""

    Training: TrainingOptions
    Precision: PrecisionOptions
    device_iterations: int
    replication_factor: int
    broadcast_buffers: bool
    output_mode: OutputMode
    output_return_period: int
    random_seed: Optional[int]
    recorded: Dict[str, Any]

    def __init__(self) -> None:
        super().__init__(
            Training=TrainingOptions(),
            Precision=PrecisionOptions(),
            device_iterations=1,
            replication_factor=1,
            broadcast_buffers=True,
            output_mode=OutputMode.Default,
            output_return_period=1,
            random_seed=None,
            connection_type=ConnectionType.Always,
            show_compilation_progress_bar=True,
            recorded={},
        )

    def __getattr__(self, name: str) -> Any:
        if name in _WITHOUT_EFFECT:
            return partial(self._record, name)
        refuse_if(name in _NOT_ACTED_OUT, name)
        return super().__getattr__(name)

    def deviceIterations(self, device_iterations: int) -> Self:
        """Run this many updates (or inference batches) per call."""
        self.device_iterations = positive("deviceIterations", device_iterations)
        return self

    def replicationFactor(self, replication_factor: int) -> Self:
        """Train this many data-parallel replicas."""
        self.replication_factor = positive("replicationFactor", replication_factor)
        return self

    def inputReplicaGrouping(self, input_group_size: int, input_group_type: Any = None) -> Self:
        """Refuse groups of more than one replica that share an input."""
        refuse_if(input_group_size != 1, f"inputReplicaGrouping({input_group_size})")
        return self

    def broadcastBuffers(self, broadcast_buffers: bool = True) -> Self:
        """Set whether replicas are expected to hold equal buffers."""
        self.broadcast_buffers = boolean("broadcastBuffers", broadcast_buffers)
        return self

    def outputMode(
        self, output_mode: OutputMode, output_return_period: Optional[int] = None
    ) -> Self:
        """Choose which micro-batches' outputs a call returns."""
        assert isinstance(output_mode, OutputMode), f"outputMode takes an OutputMode: {output_mode}"
        if output_mode is OutputMode.EveryN:
            assert output_return_period, "EveryN output_mode must have output_return_period set."
            self.output_return_period = output_return_period
        self.output_mode = output_mode
        return self

    def randomSeed(self, random_seed: int) -> Self:
        """Seed the device and, as PopTorch does, torch on the host."""
        assert isinstance(random_seed, int), f"randomSeed takes an int: {random_seed!r}"
        torch.manual_seed(random_seed)
        self.random_seed = random_seed
        return self

    def connectionType(self, connection_type: ConnectionType) -> Self:
        """Set when a device is attached; the host always is."""
        assert isinstance(connection_type, ConnectionType), (
            f"not a ConnectionType: {connection_type}"
        )
        self.connection_type = connection_type
        return self

    def showCompilationProgressBar(self, show: bool = True) -> Self:
        """Set whether a progress bar is drawn while compiling; there is none here."""
        self.show_compilation_progress_bar = boolean("showCompilationProgressBar", show)
        return self

    def setAvailableMemoryProportion(self, proportion: Mapping[str, float]) -> Self:
        """Record the shares: the host has no tile memory."""
        assert all(k.startswith("IPU") for k in proportion), 'keys must be "IPU<n>"'
        return self._record("setAvailableMemoryProportion", dict(proportion))

    def useIpuModel(self, use_model: bool) -> Self:
        """Refuse: the IPU Model is Graphcore's simulator, which this is not."""
        refuse_if(use_model, "useIpuModel(True)")
        return self

    def clone(self) -> Options:
        """Return an unfrozen copy."""
        other = Options()
        for name, value in self._values.items():
            other._values[name] = _thawed(value)
        return other

    def freeze(self) -> None:
        """Prevent any further change, also in the groups."""
        super().freeze()
        self.Training.freeze()
        self.Precision.freeze()

    def not_modelled(self) -> List[str]:
        """List the options that were accepted without an effect."""
        return sorted(self.recorded)

    def _record(self, name: str, value: Any = True) -> Self:
        self.recorded = {**self.recorded, name: value}
        return self


def _thawed(value: Any) -> Any:
    if not isinstance(value, Freezable):
        return copy.copy(value)
    other = copy.copy(value)
    other.__dict__.update(_values=dict(value._values), _frozen=False)
    return other
