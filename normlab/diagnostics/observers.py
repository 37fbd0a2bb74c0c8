"""Diagnostics during a training: each measures the model at certain moments and reports."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple, Type

import torch
from torch import Tensor

from normlab.diagnostics.ablation import AblationCurve, Clamp, ablate
from normlab.diagnostics.authors import LookingObserver
from normlab.diagnostics.batch_noise import GradientBiasObserver, RegularizationObserver
from normlab.diagnostics.batch_statistics import BatchScatter
from normlab.diagnostics.landscape import measure_landscape
from normlab.diagnostics.moment import Moment, Observer
from normlab.diagnostics.power import TERMS, watch_power
from normlab.diagnostics.sites import activation_sites, normalizer_sites
from normlab.diagnostics.step_size import (
    StepSizeMeter,
    WeightNormsObserver,
    scale_free_layers,
    scale_invariance,
)
from normlab.diagnostics.untouched import evaluating, hooked, replica
from normlab.events import Diagnostic
from normlab.norms.meta import MetaNorm
from normlab.norms.switchable import SwitchableNorm
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.registries import named_object

_SAMPLES = 512  # of the test set that are used
_ROWS = 128  # at once
_READINGS = 20  # of step sizes per epoch
_LENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0)  # times the learning rate


class PowerObserver(Observer):
    """Reports the power decomposition around each normalizer."""

    def after_epoch(self, moment: Moment) -> None:
        """Run test samples through the model in evaluation mode."""
        if not normalizer_sites(moment.model):
            return
        with evaluating(moment.model), watch_power(moment.model) as meters:
            for x in torch.split(moment.test(_SAMPLES)[0], _ROWS):
                moment.model(x)
        for name, meter in meters.items():
            power = meter.power()
            for term in TERMS:
                moment.metric(f"power/{name}/{term}", getattr(power, term))
            moment.metric(f"power/{name}/total", power.total)


class StepSizeObserver(Observer):
    """Reports weight norms, effective step sizes and turns of layers, several times per epoch."""

    def __init__(self) -> None:
        self._directions: Dict[str, Tensor] = {}

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether a reading is due at this step."""
        return step % max(1, steps_per_epoch // _READINGS) == 0

    def after_update(self, moment: Moment) -> None:
        """Read the weights."""
        layers = dict(scale_free_layers(moment.model))
        if not layers:
            return
        meter = StepSizeMeter(moment.model, layers)
        meter.directions = self._directions
        for name, found in meter.read(moment.learning_rate).items():
            moment.metric(f"step_size/{name}/weight_norm", found.weight_norm)
            moment.metric(f"step_size/{name}/effective", found.effective_step)
            moment.metric(f"step_size/{name}/turn", found.direction_change)

    def state_dict(self) -> Dict[str, Any]:
        """Return the directions at the last reading."""
        return {"directions": dict(self._directions)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from the directions of the last reading."""
        self._directions = dict(state["directions"])


class ScaleInvarianceObserver(Observer):
    """Reports the deviation of each layer's gradient from a right angle to its weights."""

    def after_epoch(self, moment: Moment) -> None:
        """Take one gradient on a copy."""
        with replica(moment.model) as twin:
            twin.train().requires_grad_(True)  # frozen parameters get a gradient as well
            x, y = moment.train()
            loss = moment.loss(twin(x[: moment.batch_size]), y[: moment.batch_size])
            torch.autograd.backward(loss)
            for name, layer in scale_free_layers(twin):
                if not layer.weight.is_leaf:  # it is computed from others: keeps no gradient
                    continue
                moment.metric(f"scale_invariance/{name}", scale_invariance(layer))


class SwitchObserver(Observer):
    """
    Reports the mixture of each switchable normalizer, and its mean over all of them.

    `largest` is the greatest of a site's ratios; it is 1 if the mixture has become one-hot.
    """

    def after_epoch(self, moment: Moment) -> None:
        """Read the ratios."""
        sites = moment.model.named_modules()
        ratios = {name: _ratios(site) for name, site in sites if isinstance(site, SwitchableNorm)}
        moment.metrics_of_sites("switch", ratios)


@torch.no_grad()
def _ratios(module: SwitchableNorm) -> Dict[str, float]:
    found: Dict[str, float] = {}
    ratios = module.ratios(module.mean_weight, module.var_weight)
    for which, values in zip(("mean", "var"), ratios):
        found.update({f"{which}/{c}": v for c, v in zip(module.choices, values.tolist())})
        found[f"{which}/largest"] = float(values.max())
    return found


class GroupSizeObserver(Observer):
    """Reports the group sizes that meta normalization has learned."""

    def after_epoch(self, moment: Moment) -> None:
        """Count the open gates."""
        for name, module in moment.model.named_modules():
            if isinstance(module, MetaNorm) and module.channel_gates is not None:
                gates = int((module.channel_gates > 0).sum())
                moment.metric(f"group_size/{name}", float(2**gates))


class LandscapeObserver(Observer):
    """Reports the smoothness of the loss along the gradient."""

    def after_epoch(self, moment: Moment) -> None:
        """Measure a copy along the gradient of one update's samples."""
        lengths = [length * max(moment.learning_rate, 1e-8) for length in _LENGTHS]
        x, y = moment.train()
        x, y = x[: moment.batch_size], y[: moment.batch_size]
        found = measure_landscape(moment.model, moment.loss, x, y, lengths)
        low, high = found.landscape.loss_range
        change_low, change_high = found.landscape.gradient_predictiveness
        values = {"loss_low": low, "loss_high": high, "loss_range": high - low,
                  "change_low": change_low, "change_high": change_high, "beta": found.beta,
                  "relative_change": change_high / max(found.gradient_norm, 1e-300)}  # fmt: skip
        moment.metrics("landscape", values)


class BatchStatisticsObserver(Observer):
    """Reports the scatter of batch statistics at the inputs of normalizers."""

    def after_epoch(self, moment: Moment) -> None:
        """Run test batches of the job's batch size through the model in evaluation mode."""
        size = moment.batch_size
        batches = [b for b in torch.split(moment.test(64 * size)[0], size) if len(b) == size]
        sites = normalizer_sites(moment.model)
        if len(batches) < 2 or not sites:
            return
        scatters = {name: BatchScatter(size) for name in sites}

        def measure(name: str, args: Tuple[Tensor, ...], _out: Tensor) -> None:
            scatters[name].update(args[0])

        with evaluating(moment.model), hooked(sites, measure):
            for batch in batches:
                moment.model(batch)
        found = {name: scatter.found() for name, scatter in scatters.items()}
        moment.metrics_of_sites("batch_statistics", found)


class AblationObserver(Observer):
    """Reports the accuracy that is left when channels are clamped."""

    def at_end(self, moment: Moment) -> None:
        """Clamp channels of all activations, first to zero and then to their means."""
        layers = activation_sites(moment.model)
        x, y = moment.test(_SAMPLES)
        if not layers:
            return
        record: Dict[str, Any] = {}
        clamps: Tuple[Clamp, ...] = ("zero", "mean")
        for clamp in clamps:
            curve = ablate(moment.model, layers, x, y, clamp)
            record[clamp] = _described(curve)
            if curve.mean[0] > 0:
                moment.metric(f"ablation/{clamp}/area", curve.area)
        moment.record(Diagnostic(name="ablation", step=moment.step, record=record))


OBSERVERS: Dict[str, Type[Observer]] = {
    "power": PowerObserver,
    "effective_step": StepSizeObserver,
    "scale_invariance": ScaleInvarianceObserver,
    "switch_weights": SwitchObserver,
    "group_sizes": GroupSizeObserver,
    "landscape": LandscapeObserver,
    "batch_statistics": BatchStatisticsObserver,
    "regularization": RegularizationObserver,
    "gradient_bias": GradientBiasObserver,
    "weight_norms": WeightNormsObserver,
    "ablation": AblationObserver,
}


def make_observers(names: Sequence[str]) -> Dict[str, Observer]:
    """Make the observers that a job names; the names were checked at admission."""
    return {name: _observer(name) for name in DIAGNOSTICS if name in names}


def _observer(name: str) -> Observer:
    path = DIAGNOSTICS[name].path
    return LookingObserver(named_object(path)()) if path else OBSERVERS[name]()


def _described(curve: AblationCurve) -> Dict[str, List[Any]]:
    return {"fractions": curve.fractions, "accuracies": curve.accuracies, "mean": curve.mean}
