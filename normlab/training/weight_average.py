"""An exponential moving average of a network's weights, which evaluations use."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor, nn

from normlab.specs.jobs import JobSpec
from normlab.specs.optimization import AverageSpec


class WeightAverage:
    """
    A second network whose weights follow those of the trained one.

    a <- decay a + (1 - decay) w after every *every*-th update; before the share *start* of the
    training, a is a copy of w. Buffers of floats, such as running statistics, are averaged in the
    same way, so they fit the averaged weights about as well as the running statistics fit the
    trained ones; they are not recomputed. Other buffers are copied.

    Args:
        model: the trained network, on its device.
        spec: decay, every, start.

    Source:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in the
        exponential form of Szegedy et al., arXiv:1512.00567, section 8.
    """

    def __init__(self, model: nn.Module, spec: AverageSpec) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._spec = spec
        self._updates = 0
        self._live = model
        self.pair()

    def pair(self) -> None:
        """Pair the parameters of both networks; repeat this after they were exchanged in both."""
        self._pairs = (list(self.model.parameters()), list(self._live.parameters()))

    @torch.no_grad()
    def follow(self, progress: float) -> None:
        """Update the average after an update; *progress* is the finished share before it."""
        self._updates += 1
        if progress < self._spec.start:
            self._move(0.0)
        elif self._updates % self._spec.every == 0:
            self._move(self._spec.decay)

    def _move(self, decay: float) -> None:
        averages, weights = self._pairs
        _mean(averages, weights, decay)
        floats: List[Tensor] = []
        theirs: List[Tensor] = []
        for mine, other in zip(self.model.buffers(), self._live.buffers()):
            if mine.is_floating_point():
                floats.append(mine)
                theirs.append(other)
            else:
                mine.copy_(other)
        if floats:
            _mean(floats, theirs, decay)

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that a checkpoint needs."""
        return {"model": dict(self.model.state_dict()), "updates": self._updates}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from the result of `state_dict`."""
        self.model.load_state_dict(state["model"])
        self._updates = state["updates"]


def _mean(averages: List[Any], weights: List[Any], decay: float) -> None:
    if decay == 0:
        torch._foreach_zero_(averages)
        torch._foreach_add_(averages, weights)
        return
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, weights, alpha=1 - decay)


def weight_average(model: nn.Module, spec: JobSpec) -> Optional[WeightAverage]:
    """Return the average of *model*'s weights, if *spec* asks for one, or None."""
    return None if spec.ema is None else WeightAverage(model, spec.ema)
