"""Record the norms of each channel's weights after each epoch, for another training to copy."""

from __future__ import annotations

from typing import Dict, List

from torch import nn

from normlab.diagnostics.moment import Moment, Observer
from normlab.diagnostics.step_size import rows, scale_free_layers
from normlab.events import Diagnostic


def weight_norms(model: nn.Module) -> Dict[str, List[float]]:
    """Return the weight norm of each output channel of every layer except the last, in float64."""
    return {name: rows(layer).norm(dim=1).tolist() for name, layer in scale_free_layers(model)}


class WeightNormsObserver(Observer):
    """Records the norms after each epoch and its evaluation; epochs count from 0."""

    def after_epoch(self, moment: Moment) -> None:
        """Record the norms."""
        epoch = (moment.step - 1) // moment.steps_per_epoch
        record = {"epoch": epoch, "norms": weight_norms(moment.model)}
        moment.record(Diagnostic(name="weight_norms", step=moment.step, record=record))
