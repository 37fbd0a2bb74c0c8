"""A model trained by torch itself: the common part of the CPU and CUDA sessions."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from accelerators.replica_group import ReplicaGroup, own_state
from accelerators.shards import Shards
from accelerators.thread_choice import take_threads
from normlab import norms
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import StepResult
from normlab.training.clipping import adaptive_clipping
from normlab.training.optimizers import make_optimizer
from normlab.training.scoring import Scorer, outputs, reduced_precision
from normlab.training.tasks import Task
from normlab.training.weight_average import WeightAverage, weight_average

_TOGETHER_NORM = 1.0  # limit of their gradients' joint norm, from the code for arXiv:1903.03793


class TorchSession:
    """
    A model on a device that torch drives, with its optimizer.

    Args:
        model: the model, already on *device*.
        spec: the job.
        device: where the steps run.
        group: the replicas that this model belongs to, if there are others.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: JobSpec,
        device: torch.device,
        group: Optional[ReplicaGroup] = None,
    ) -> None:
        self.model = model
        self.device = device
        self._spec = spec
        self._group = group
        self._average = weight_average(model, spec)
        self._shards = _shards(device, group)
        if self._shards is not None:  # before other objects hold the parameters
            self._divide(self._shards)
        self.optimizer = make_optimizer(model, spec)
        self._dtype = reduced_precision(spec)
        self._parameters = [p for p in model.parameters() if p.requires_grad]  # without frozen ones
        self._normalizers = norms.activation_norms(model)  # once: searching takes time
        if self._average is not None:
            self._normalizers += norms.activation_norms(self._average.model)
        self._progress = 0.0
        self._clipped_together = norms.clipped_together(model)
        self._clip_units = adaptive_clipping(model, spec)
        self._task = Task(spec)
        self._score = Scorer(spec)

    def place(self, x: Tensor) -> Tensor:
        """Return *x* on the device."""
        return x.to(self.device)

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """Use the threads of an earlier attempt, or the configured threads."""
        return take_threads(recorded)

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Set the learning rate and progress for the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        for layer in self._normalizers:
            layer.set_progress(progress)
        self._progress = progress

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """
        Make one update from the samples of *x*, in micro-batches of the job's batch size.

        Each of several replicas passes its own samples, and all get the same result.
        """
        self._switch(training=True)
        for parameter in self._parameters:  # the optimizer's zero_grad is several times slower
            parameter.grad = None
        return self._conclude(self._accumulate(x, y))

    def _divide(self, shards: Shards) -> None:
        shards.divide(self.model)
        if self._average is not None:
            shards.divide(self._average.model)
            self._average.pair()

    def _conclude(self, result: StepResult) -> StepResult:
        if self._group is not None:  # gradients of shards are already averaged
            gradients = self._parameters if self._shards is None else ()
            result = self._group.average(gradients, result)
        self._update()
        return result

    def _update(self) -> None:
        self._clip()
        self.optimizer.step()
        self._follow()

    def _follow(self) -> None:
        if self._average is not None:
            self._average.follow(self._progress)

    def _clip(self) -> None:
        if self._clipped_together:
            nn.utils.clip_grad_norm_(self._clipped_together, _TOGETHER_NORM)
        optimizer = self._spec.optimizer
        if optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, optimizer.clip_norm)
        if optimizer.clip_value is not None:
            nn.utils.clip_grad_value_(self._parameters, optimizer.clip_value)
        if self._clip_units is not None:
            self._clip_units()

    def _switch(self, training: bool) -> None:
        if self.model.training != training:  # setting it on every module takes time
            self.model.train(training)

    def _accumulate(self, x: Tensor, y: Tensor) -> StepResult:
        parts, size = self._spec.gradient_accumulation, self._spec.batch_size
        first = (x, y) if len(x) <= size else (x[:size], y[:size])  # a view takes time, too
        loss, correct = self._backward(*first)
        for i in range(1, parts):
            part = slice(i * size, (i + 1) * size)
            part_loss, part_correct = self._backward(x[part], y[part])
            loss, correct = loss + part_loss, correct + part_correct
        return StepResult(loss, correct, self._task.predictions(y))

    def _backward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        logits = self._forward(self.model, x)
        loss = self._task.loss(logits, y)
        if self._spec.gradient_accumulation > 1:
            loss = loss / self._spec.gradient_accumulation
        self._differentiate(loss)
        return loss.detach(), self._task.correct(logits.detach(), y)

    def _differentiate(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def _forward(self, model: nn.Module, x: Tensor) -> Tensor:
        return outputs(model, x, self._dtype)

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* in evaluation mode, and change nothing."""
        if self._average is None:
            self._switch(training=False)
        return self._score(self._forward(self.evaluated(), x), y)

    def inspect(self) -> nn.Module:
        """Return the model."""
        return self.model

    def evaluated(self) -> nn.Module:
        """Return the model, or the average of its weights."""
        return self.model if self._average is None else self._average.model

    def weights(self) -> Dict[str, Tensor]:
        """Copy the weights that evaluations use to the host; all replicas call this together."""
        found: Dict[str, Tensor] = self._on_host(dict(self.evaluated().state_dict()))
        return found

    def state_dict(self) -> Dict[str, Any]:
        """Copy the state of model and optimizer to the host; all replicas call this together."""
        state = {
            "model": self._on_host(dict(self.model.state_dict())),
            "optimizer": self._on_host(self.optimizer.state_dict()),
        }
        if self._average is not None:
            state["average"] = self._on_host(self._average.state_dict())
        if self._group is not None:
            state["replicas"] = self._group.gather(_on_host(own_state(self.model)))
        if self._shards is not None:
            state["sharded"] = True
        return state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`, saved whole or divided among replicas."""
        if self._shards is None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        else:
            self._shards.load(self.model, state["model"])
            self._shards.load_optimizer(self.optimizer, state["optimizer"])
        if self._average is not None:
            self._load_average(self._average, state["average"])
        if self._group is not None:
            self.model.load_state_dict(state["replicas"][self._group.rank], strict=False)

    def _load_average(self, average: WeightAverage, state: Dict[str, Any]) -> None:
        if self._shards is None:
            average.load_state_dict(state)
        else:
            self._shards.load(average.model, state["model"])
            average.load_state_dict({**state, "model": average.model.state_dict()})

    def _on_host(self, value: Any) -> Any:
        return _on_host(value) if self._shards is None else self._shards.whole(value)

    def memory_peak_bytes(self) -> Optional[int]:
        """Return None, because only subclasses may know the value."""
        return None


def _shards(device: torch.device, group: Optional[ReplicaGroup]) -> Optional[Shards]:
    """Return the object that divides a model among *group*; None if it is not divided."""
    return Shards(device.type, group.rank) if group is not None and group.sharded else None


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_host(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_host(item) for item in value]
    return value
