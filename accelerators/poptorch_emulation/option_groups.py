"""Options that cannot be changed once they are frozen, and the groups of them that others hold."""

from __future__ import annotations

from typing import Any, Dict

import torch
from typing_extensions import Self

from accelerators.poptorch_emulation.enums import MeanReductionStrategy, ReductionType
from accelerators.poptorch_emulation.errors import Error


class Freezable:
    """Attributes with fixed names that can be set until `freeze`."""

    def __init__(self, **values: Any) -> None:
        self.__dict__["_values"] = values
        self.__dict__["_frozen"] = False

    def __getattr__(self, name: str) -> Any:
        values: Dict[str, Any] = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"PopTorch's emulation has no option {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise AttributeError("Can't modify frozen Options")
        assert name in self._values, f"Invalid option {name}"
        self._values[name] = value

    def freeze(self) -> None:
        """Prevent any further change."""
        self.__dict__["_frozen"] = True


class TrainingOptions(Freezable):
    """`Options.Training`: the micro-batches per update, and their reduction."""

    gradient_accumulation: int
    reduction: ReductionType
    mean_reduction_strategy: MeanReductionStrategy

    def __init__(self) -> None:
        super().__init__(
            gradient_accumulation=1,
            reduction=ReductionType.Mean,
            mean_reduction_strategy=MeanReductionStrategy.Post,
        )

    def gradientAccumulation(self, gradient_accumulation: int) -> Self:
        """Average (or add) the gradients of this many micro-batches before an update."""
        self.gradient_accumulation = positive("gradientAccumulation", gradient_accumulation)
        return self

    def accumulationAndReplicationReductionType(self, reduction_type: ReductionType) -> Self:
        """Choose how the gradients of micro-batches and replicas are combined."""
        if reduction_type not in (ReductionType.Mean, ReductionType.Sum):
            raise ValueError("Unsupported reduction type for accumulation and replication.")
        self.reduction = reduction_type
        return self

    def setMeanAccumulationAndReplicationReductionStrategy(self, strategy: Any) -> Self:
        """Accept both values: the time of the division makes no difference in float32."""
        assert isinstance(strategy, MeanReductionStrategy), f"not a strategy: {strategy!r}"
        self.mean_reduction_strategy = strategy
        return self

    def setConvolutionDithering(self, enabled: bool) -> Self:
        """Accept both values: they concern tiles, which the host does not have."""
        boolean("setConvolutionDithering", enabled)
        return self

    def setAutomaticLossScaling(self, enabled: bool) -> Self:
        """Refuse: loss scaling has no meaning in float32."""
        refuse_if(enabled, "Training.setAutomaticLossScaling(True)")
        return self


class PrecisionOptions(Freezable):
    """`Options.Precision`: only options that float32 on the host supports."""

    def enableStochasticRounding(self, enabled: bool) -> Self:
        """Refuse: the host rounds to nearest."""
        refuse_if(enabled, "Precision.enableStochasticRounding(True)")
        return self

    def enableFloatingPointExceptions(self, enabled: bool) -> Self:
        """Refuse: the host does not trap."""
        refuse_if(enabled, "Precision.enableFloatingPointExceptions(True)")
        return self

    def setPartialsType(self, dtype: torch.dtype) -> Self:
        """Refuse half-precision partial sums."""
        half = dtype in (torch.half, torch.float16)
        refuse_if(half, "Precision.setPartialsType(torch.half)")
        return self


def positive(name: str, value: int) -> int:
    """Return *value*, which must be an int above 0."""
    assert type(value) is int, f"{name} takes an int: {value!r}"
    assert value > 0, f"{name} must be greater than 0: {value}"
    return value


def boolean(name: str, value: bool) -> bool:
    """Return *value*, which must be a bool."""
    assert isinstance(value, bool), f"{name} takes a bool: {value!r}"
    return value


def refuse_if(asked: bool, what: str) -> None:
    """Raise if *what*, which the emulation does not have, is asked for."""
    if asked:
        raise Error(f"{what} cannot be honoured by the host emulation; leave it out")
