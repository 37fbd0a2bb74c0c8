"""A model as two compiled programs: one for training and one for evaluation."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from accelerators.thread_choice import take_threads
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import AdamW, RMSprop
from normlab.training.accelerator import StepResult
from normlab.training.optimizers import parameter_groups, scaled_rate
from normlab.training.tasks import Task, tallies_of


class Program(nn.Module):
    """The network with its loss inside, as a compiled program requires."""

    def __init__(self, library: Any, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self._identity_loss = library.identity_loss

    def forward(self, x: Tensor, y: Optional[Tensor] = None) -> Any:
        """Return the number of correct predictions and the loss or, without *y*, the logits."""
        logits = self.model(x)
        if y is None:
            return logits
        loss = self.task.loss(logits, y)
        hits = self.task.correct(logits.detach(), y)
        return hits, self._identity_loss(loss, reduction="none")


class IpuSession:
    """
    A model on IPUs: forward, backward and update are one call.

    Args:
        library: `poptorch`, or the emulation with the same names.
        model: the model on the host, in operators that the compiler can differentiate.
        spec: the job.
    """

    def __init__(self, library: Any, model: nn.Module, spec: JobSpec) -> None:
        self._library = library
        self._spec = spec
        self._model = model
        self._task = Task(spec)
        self._tallies = tallies_of(spec)
        self._program = Program(library, model, self._task)
        self._optimizer = make_optimizer(library, self._program, spec)
        self._learning_rate: Optional[float] = None
        self._trainer = library.trainingModel(
            self._program.train(), training_options(library, spec), self._optimizer
        )
        self._evaluator: Any = None  # compiled for its first batch
        self._rows = 0  # samples of that batch

    def place(self, x: Tensor) -> Tensor:
        """Return *x*, because batches are formed on the host."""
        return x

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """Use the threads of an earlier attempt for host operators, or the configured threads."""
        return take_threads(recorded)

    def prepare(self, learning_rate: float, progress: float) -> None:
        """Send a changed learning rate; *progress* cannot reach a compiled program."""
        if learning_rate == self._learning_rate:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        self._trainer.setOptimizer(self._optimizer)
        self._learning_rate = learning_rate

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update; dimension 0 of *x* is accumulation, replica, micro-batch."""
        hand_over(self._evaluator, self._trainer)
        hits, loss = self._trainer(x, y)
        micro_batches = self._spec.gradient_accumulation * self._spec.replicas
        return StepResult(loss.sum() / micro_batches, hits.sum(), self._task.predictions(y))

    def evaluate(self, x: Tensor, y: Tensor) -> StepResult:
        """Compute the loss of *x* in evaluation mode; a short last batch is padded, then cut."""
        if self._evaluator is None:
            self._evaluator = self._make_evaluator(len(x))
        hand_over(self._trainer, self._evaluator)
        logits = self._evaluator(filled(x, self._rows))[: len(x)]
        hits = self._task.correct(logits, y)
        loss = self._task.loss(logits, y)
        return StepResult(loss, hits, self._task.predictions(y), self._tallies(logits, y))

    def inspect(self) -> nn.Module:
        """Return the model with the device's weights."""
        if holds_device(self._trainer):  # otherwise weights were copied at detaching
            self._trainer.copyWeightsToHost()
        return self._model

    def evaluated(self) -> nn.Module:
        """Return the model, because a program keeps no average of its weights."""
        return self.inspect()

    def weights(self) -> Dict[str, Tensor]:
        """Copy the parameters and buffers."""
        return {n: t.detach().cpu().clone() for n, t in self.inspect().state_dict().items()}

    def state_dict(self) -> Dict[str, Any]:
        """Fetch the weights and the optimizer's state from the device."""
        hand_over(self._evaluator, self._trainer)  # only the program has the state
        if holds_device(self._trainer):
            self._trainer.copyWeightsToHost()
        model = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        return {"model": model, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learning_rate = None  # the loaded state has its own rate
        if holds_device(self._trainer):
            self._trainer.copyWeightsToDevice()

    def memory_peak_bytes(self) -> Optional[int]:
        """Return None, because the compiler allocates everything before the run."""
        return None

    def close(self) -> None:
        """Copy the weights to the host, and release the device."""
        destroy(self._evaluator, self._trainer)

    def _make_evaluator(self, rows: int) -> Any:
        # A device takes the training's micro-batch, many times per call; a host takes all at once.
        emulated = self._spec.ipu_runtime == "emulated"
        iterations = 1 if emulated else -(-rows // self._spec.batch_size)
        self._rows = rows if emulated else iterations * self._spec.batch_size
        options = common_options(self._library, self._spec).deviceIterations(iterations)
        self._program.eval()
        evaluator = self._library.inferenceModel(self._program, options)
        self._program.train()
        return evaluator


def destroy(evaluator: Any, trainer: Any) -> None:
    """Release the device of both programs; *evaluator* is None before its first batch."""
    try:
        if evaluator is not None:
            evaluator.destroy()
    finally:
        trainer.destroy()


def hand_over(giver: Any, taker: Any) -> None:
    """Pass the device from *giver* to *taker*; it serves both programs, one at a time."""
    if giver is not None and holds_device(giver):
        giver.detachFromDevice()
    if taker.isCompiled() and not taker.isAttachedToDevice():
        taker.attachToDevice()


def holds_device(program: Any) -> bool:
    """Return whether *program* has the device, and so the newest weights."""
    return bool(program.isCompiled() and program.isAttachedToDevice())


def filled(x: Tensor, rows: int) -> Tensor:
    """Repeat the first sample of a short batch, until it has *rows*."""
    missing = rows - len(x)
    return torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x


def training_options(library: Any, spec: JobSpec) -> Any:
    """Return the options of the training program, which reports sums and averages gradients."""
    options = common_options(library, spec)
    options.randomSeed(spec.seed)
    options.replicationFactor(spec.replicas)
    options.outputMode(library.OutputMode.Sum)  # Final would report only the last micro-batch
    options.Training.gradientAccumulation(spec.gradient_accumulation)
    options.Training.accumulationAndReplicationReductionType(library.ReductionType.Mean)
    if spec.replicas > 1:
        options.broadcastBuffers(False)  # each replica keeps its own running statistics
    return options


def common_options(library: Any, spec: JobSpec) -> Any:
    """Return the options of both programs, without the seed, which would reset the host's too."""
    options = library.Options()
    options.deviceIterations(1)
    options.connectionType(library.ConnectionType.OnDemand)  # compiling needs no device
    options.showCompilationProgressBar(False)
    if spec.ipu_runtime == "ipu_model":
        options.useIpuModel(True)
    return options


def make_optimizer(library: Any, program: nn.Module, spec: JobSpec) -> Any:
    """Build PopTorch's optimizer; arguments that are passed stay variable, others are constant."""
    return optimizer_over(library, parameter_groups(program, spec), spec)


def optimizer_over(library: Any, groups: List[Dict[str, Any]], spec: JobSpec) -> Any:
    """Build PopTorch's optimizer over *groups*, which may have options of their own."""
    optimizer = spec.optimizer
    rate = scaled_rate(optimizer, spec.samples_per_update)
    lr, clip = rate.learning_rate, _clip(optimizer.clip_norm)
    if isinstance(optimizer, AdamW):
        betas: Tuple[float, float] = (optimizer.beta1, optimizer.beta2)
        return library.optim.AdamW(groups, lr=lr, betas=betas, eps=optimizer.eps, **clip)
    momentum = rate.momentum or 0.0
    if isinstance(optimizer, RMSprop):
        return library.optim.RMSprop(
            groups, lr=lr, alpha=optimizer.alpha, eps=optimizer.eps, momentum=momentum
        )
    nesterov = bool(optimizer.own.get("nesterov"))
    return library.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, **clip)


def _clip(norm: Optional[float]) -> Dict[str, float]:
    return {} if norm is None else {"max_grad_norm": norm}
