"""`trainingModel` and `inferenceModel`: compile a module to a program for the device."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from accelerators.poptorch_emulation.arguments import Arguments
from accelerators.poptorch_emulation.compilation import NOT_RETURNED, flat, trace
from accelerators.poptorch_emulation.device_model import DeviceModel
from accelerators.poptorch_emulation.enums import ConnectionType, ReductionType
from accelerators.poptorch_emulation.errors import Error
from accelerators.poptorch_emulation.losses import LossRecorder, only_loss
from accelerators.poptorch_emulation.optim import SGD, DeviceOptimizer, IpuOptimizer, State
from accelerators.poptorch_emulation.options import Options
from accelerators.poptorch_emulation.outputs import Outputs
from accelerators.poptorch_emulation.tracing import on_device
from accelerators.poptorch_emulation.wrapping import trainer_of, unwrap, wrap


def trainingModel(
    model: nn.Module,
    options: Optional[Options] = None,
    optimizer: Optional[torch.optim.Optimizer] = None,
) -> PoplarExecutor:
    """Turn *model*, whose forward pass contains the loss, into a program that trains it."""
    if trainer_of(model) is not None:
        raise RuntimeError(
            "Model has already been wrapped in 'poptorch.trainingModel'. Call model.destroy() on "
            "the model to unwrap before wrapping again."
        )
    optimizer = optimizer or SGD(model.parameters(), lr=0.01)
    executor = PoplarExecutor(model, options or Options(), optimizer)
    wrap(model, executor)
    return executor


def inferenceModel(model: nn.Module, options: Optional[Options] = None) -> PoplarExecutor:
    """Turn *model* into a program that evaluates it, with the weights of its training program."""
    options = options or Options()
    if options.Training.gradient_accumulation != 1:
        raise Error(
            "You must set Options.Training.gradientAccumulation to 1 or leave it as its default "
            "value (1) for inference models"
        )
    return PoplarExecutor(model, options, None)


class PoplarExecutor:
    """One program: compiled at its first call, with its own weights and optimizer state."""

    def __init__(
        self, model: nn.Module, options: Options, optimizer: Optional[torch.optim.Optimizer]
    ) -> None:
        options.freeze()
        self._user_model = model
        self._options = options
        self._optimizer = optimizer
        self._modes = [module.training for module in model.modules()]
        self._device: Optional[DeviceModel] = None
        self._device_optimizer: Optional[DeviceOptimizer] = None
        self._arguments = Arguments(
            options.device_iterations
            * options.Training.gradient_accumulation
            * options.replication_factor
        )
        self._loss = NOT_RETURNED
        self._attached = False
        self._dirty = False

    def __call__(self, *args: Any) -> Any:
        """Run the program on a whole batch: D x G x R micro-batches, in this order."""
        self._refuse_offline()
        if not self._optimizer and trainer_of(self._user_model):
            trainer_of(self._user_model).copyWeightsToHostIfNeeded()
            if self.isCompiled():
                self.copyWeightsToDevice()
        parts = self._arguments.split(args)
        if not self.isCompiled():
            self._compile(parts[0])
        if not self._attached:
            self.attachToDevice()
        outputs = Outputs(self._options, training=self._optimizer is not None)
        with on_device(self._optimizer is not None):
            if self._device_optimizer is None:
                self._infer(parts, outputs)
            else:
                self._train(parts, outputs, self._device_optimizer)
        return outputs.result()

    def compile(self, *args: Any) -> None:
        """Compile for arguments of these shapes, without changing any state."""
        self._compile(self._arguments.split(args)[0])

    def isCompiled(self) -> bool:
        """Return whether there is a program."""
        return self._device is not None

    def isAttachedToDevice(self) -> bool:
        """Return whether a device is attached."""
        return self._attached

    def attachToDevice(self) -> None:
        """Attach the device, with the weights of the host."""
        self._compiled()
        self._refuse_offline()
        self._attached = True
        self.copyWeightsToDevice()

    def detachFromDevice(self) -> None:
        """Release the device, after copying the weights to the host."""
        self._compiled()
        if not self._attached:
            raise Error("Device is not attached")
        self.copyWeightsToHostIfNeeded()
        self._attached = False

    def copyWeightsToHost(self) -> None:
        """Copy weights and buffers to the user's module."""
        self._compiled()
        self._dirty = False  # before accessing the module, because that checks whether to copy
        self._compiled().store(self._user_model)

    def copyWeightsToHostIfNeeded(self) -> bool:
        """Copy them if the device has newer ones; return whether it did."""
        if not self._dirty:
            return False
        self.copyWeightsToHost()
        return True

    def copyWeightsToDevice(self) -> None:
        """Copy the weights and buffers of the user's module to the device."""
        self._compiled()
        self._dirty = False
        self._compiled().load(self._user_model)

    def setOptimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Send the variable attributes of *optimizer*; only this call updates the device."""
        if self._device_optimizer is not None:
            self._device_optimizer.update(optimizer)
        self._optimizer = optimizer

    def state_dict(self) -> Dict[str, Any]:
        """Copy newer weights to the host, and return the weights."""
        self.copyWeightsToHostIfNeeded()
        return dict(self._user_model.state_dict())

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load weights into the user's module, and onto the device if there is a program."""
        self._dirty = False
        self._user_model.load_state_dict(state_dict)
        if self.isCompiled():
            self.copyWeightsToDevice()

    def destroy(self) -> None:
        """Copy the weights to the host, release the device, and unwrap the module."""
        if self.isCompiled():
            self.copyWeightsToHostIfNeeded()
        if trainer_of(self._user_model) is self:
            unwrap(self._user_model)
        self._device = self._device_optimizer = None
        self._attached = False

    def _refuse_offline(self) -> None:
        assert self._options.connection_type is not ConnectionType.Never, (
            "Trying to run a model on an offline device (ConnectionType.Never)"
        )

    def _compiled(self) -> DeviceModel:
        if self._device is None:
            raise Error("Model has not been compiled or has been destroyed.")
        return self._device

    def _compile(self, args: List[Any]) -> None:
        device = DeviceModel(self._user_model, self._modes, self._options.replication_factor)
        training = self._optimizer is not None
        self._loss = trace(device.module, args, self._options, training)
        self._device = device
        self._attached = self._options.connection_type is not ConnectionType.Never
        if self._optimizer is not None:
            self._device_optimizer = DeviceOptimizer(self._optimizer, self._placed(device))
            if isinstance(self._optimizer, IpuOptimizer):
                self._optimizer.connect(self._pull_state, self._device_optimizer.load)

    def _placed(self, device: DeviceModel) -> Dict[int, Tensor]:
        pairs = zip(self._user_model.parameters(), device.module.parameters())
        return {id(host): placed for host, placed in pairs}

    def _pull_state(self) -> State:
        return self._device_optimizer.state() if self._device_optimizer else {}

    def _infer(self, parts: List[List[Any]], outputs: Outputs) -> None:
        device = self._compiled()
        with torch.no_grad():
            for number, args in enumerate(parts):
                device.select(number % self._options.replication_factor)
                outputs.add(device.module(*args))
                device.restore_constants()

    def _train(self, parts: List[List[Any]], outputs: Outputs, optimizer: DeviceOptimizer) -> None:
        training = self._options.Training
        per_update = training.gradient_accumulation * self._options.replication_factor
        mean = training.reduction is ReductionType.Mean
        for number, args in enumerate(parts):
            output, loss = self._forward(args, number % self._options.replication_factor)
            # a loss that is not reduced has a gradient of ones
            torch.autograd.backward(loss, torch.ones_like(loss))
            outputs.add(_detached(output))
            if (number + 1) % per_update == 0:
                optimizer.step(per_update, mean)
        self._compiled().select(0)
        self._dirty = True

    def _forward(self, args: List[Any], replica: int) -> Tuple[Any, Tensor]:
        device = self._compiled()
        device.select(replica)
        with torch.enable_grad():
            if self._loss != NOT_RETURNED:
                output = device.module(*args)
                loss = flat(output)[self._loss]
            else:
                with LossRecorder() as losses:
                    output = device.module(*args)
                loss = only_loss(losses.found)
        device.restore_constants()
        return output, loss


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    return type(output)(_detached(x) for x in output)
