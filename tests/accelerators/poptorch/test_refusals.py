"""What PopTorch refuses, when, and with which message."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.accelerators.poptorch.programs import Regression, data


# overview.rst: the first dimension is a multiple of D * R * G.
def test_a_batch_that_does_not_divide_is_an_assertion(pop: Any) -> None:
    program = pop.trainingModel(Regression(), pop.Options().deviceIterations(3))
    with pytest.raises(AssertionError, match="Invalid batch dimension"):
        program(*data(4))


def test_shapes_are_those_of_the_first_call(pop: Any) -> None:
    program = pop.trainingModel(Regression())
    program(*data(4))
    with pytest.raises(pop.Error, match="Shape mismatch"):
        program(*data(2))


def test_types_are_those_of_the_first_call(pop: Any) -> None:
    program = pop.inferenceModel(nn.ReLU().eval())
    program(torch.ones(2))
    with pytest.raises(pop.Error):
        program(torch.ones(2, dtype=torch.int32))


# _args_parser.py: a later call has as many arguments as the first.
def test_the_number_of_arguments_is_that_of_the_first_call(pop: Any) -> None:
    class Adds(nn.Module):
        def forward(self, x: Tensor, y: Any = None) -> Tensor:
            return x + 1 if y is None else x + y

    program = pop.inferenceModel(Adds().eval())
    program(torch.ones(2))
    with pytest.raises((pop.Error, AssertionError)):
        program(torch.ones(2), torch.ones(2))


# overview.rst: gradients do not reach the inputs.
def test_an_input_that_requires_a_gradient_is_detached_with_a_warning(pop: Any) -> None:
    x, y = data(2)
    program = pop.trainingModel(Regression())
    with pytest.warns(UserWarning, match="requires_grad"):
        program(x.requires_grad_(), y)
    assert x.grad is None


def test_constants_are_compiled_in(pop: Any) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, factor: float) -> Tensor:
            return x * factor

    program = pop.inferenceModel(Scaled().eval())
    program(torch.ones(2), 2.0)
    with pytest.raises(pop.Error):
        program(torch.ones(2), 3.0)


def test_zero_sized_inputs_are_refused(pop: Any) -> None:
    with pytest.raises(pop.Error, match=r"[Zz]ero-sized"):
        pop.inferenceModel(nn.ReLU().eval())(torch.ones(0, 3))


# options_test.py: options are frozen by the first program that uses them.
def test_options_freeze_and_a_clone_does_not(pop: Any) -> None:
    options = pop.Options()
    pop.inferenceModel(nn.ReLU().eval(), options)
    with pytest.raises(AttributeError, match="Can't modify frozen Options"):
        options.deviceIterations(2)
    assert options.clone().deviceIterations(2).device_iterations == 2


@pytest.mark.parametrize("how", ["trainingModel", "inferenceModel", "DataLoader"])
def test_any_use_of_options_freezes_them(pop: Any, how: str) -> None:
    options = pop.Options()
    if how == "DataLoader":
        pop.DataLoader(options, torch.utils.data.TensorDataset(torch.ones(4)))
    else:
        getattr(pop, how)(Regression(), options)
    with pytest.raises(AttributeError, match="Can't modify frozen Options"):
        options.Training.gradientAccumulation(2)


# _options_impl.py: names and types are checked where they are set.
@pytest.mark.parametrize(
    "ask",
    [
        lambda o: o.deviceIterations("2"),
        lambda o: o.replicationFactor(2.0),
        lambda o: o.Training.gradientAccumulation("2"),
        lambda o: o.outputMode("sum"),
        lambda o: setattr(o, "anchor_mode", 1),
    ],
)
def test_options_are_strict_about_types_and_names(pop: Any, ask: Any) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError, ValueError)):
        ask(pop.Options())


# options.py: a program without a connection is compiled only.
def test_an_offline_program_cannot_be_called(pop: Any) -> None:
    options = pop.Options().connectionType(pop.ConnectionType.Never)
    with pytest.raises(AssertionError, match="offline"):
        pop.inferenceModel(nn.ReLU().eval(), options)(torch.ones(2))


# batching_test.py: EveryN needs a period, which divides the iterations.
def test_every_n_needs_a_period_that_divides_the_iterations(pop: Any) -> None:
    with pytest.raises(AssertionError):
        pop.Options().outputMode(pop.OutputMode.EveryN)
    options = pop.Options().deviceIterations(4).outputMode(pop.OutputMode.EveryN, 3)
    with pytest.raises((pop.Error, AssertionError)):
        pop.inferenceModel(nn.ReLU().eval(), options)(torch.ones(4))


@pytest.mark.parametrize("iterations", [0, -1])
def test_options_are_strict_about_values(pop: Any, iterations: int) -> None:
    with pytest.raises(AssertionError):
        pop.Options().deviceIterations(iterations)


def test_no_reduction_is_a_value_error(pop: Any) -> None:
    with pytest.raises(ValueError, match="reduction"):
        pop.Options().Training.accumulationAndReplicationReductionType(
            pop.ReductionType.NoReduction
        )


# batching_test.py: inference has no gradient accumulation.
def test_inference_with_accumulation_is_refused(pop: Any) -> None:
    options = pop.Options()
    options.Training.gradientAccumulation(2)
    with pytest.raises(pop.Error, match="gradientAccumulation"):
        pop.inferenceModel(nn.ReLU().eval(), options)


# custom_loss_test.py: the two errors.
def test_a_program_without_a_loss_is_refused(pop: Any) -> None:
    class NoLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).sum()

    with pytest.raises(pop.Error, match="Couldn't find a loss in graph!"):
        pop.trainingModel(NoLoss())(torch.ones(1, 3))


def test_two_independent_losses_are_refused(pop: Any) -> None:
    class TwoLosses(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            out = self.net(x)
            return F.mse_loss(out, y), F.l1_loss(out, y)

    with pytest.raises(pop.Error, match="Multiple independent losses found in graph"):
        pop.trainingModel(TwoLosses())(*data(2))


# RemoveSurplusIdentityLosses.cpp: a loss that feeds another loss no longer counts as a loss.
def test_a_loss_that_feeds_another_is_demoted(pop: Any) -> None:
    class Combined(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            out = self.net(x)
            both = 0.5 * F.mse_loss(out, y) + 0.5 * F.l1_loss(out, y)
            return pop.identity_loss(both, reduction="none")

    model = Combined()
    program = pop.trainingModel(model, None, pop.optim.SGD(model.parameters(), lr=0.1))
    x, y = data(2)
    program(x, y)
    program.destroy()
    expected = Combined()
    out = expected.net(x)
    (0.5 * F.mse_loss(out, y) + 0.5 * F.l1_loss(out, y)).backward()
    torch.optim.SGD(expected.parameters(), lr=0.1).step()
    torch.testing.assert_close(model.net.weight, expected.net.weight)


# ErrorOnUnsupportedAten.cpp, and the real case of graphcore/poptorch issue 19.
def test_an_operator_off_the_list_is_named(pop: Any) -> None:
    class NanToNum(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            return F.mse_loss(torch.nan_to_num(self.net(x)), y)

    with pytest.raises(pop.Error, match=r"Unsupported ops found in compiled model: .*nan_to_num"):
        pop.trainingModel(NanToNum())(*data(2))


# loop_test.py, if_test.py.
def test_control_flow_is_for_inference_only(pop: Any) -> None:
    class Loops(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            out = pop.for_loop(2, lambda t: t + 1, [self.net(x)])[0]
            return F.mse_loss(out, y)

    with pytest.raises(pop.Error, match="only supported in inference"):
        pop.trainingModel(Loops())(*data(2))


def test_branches_are_for_inference_only(pop: Any) -> None:
    class Branches(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            out = self.net(x)
            out = pop.cond(x.sum() > 0, lambda t: t + 1, [out], lambda t: t - 1, [out])[0]
            return F.mse_loss(out, y)

    with pytest.raises(pop.Error, match="only supported in inference"):
        pop.trainingModel(Branches())(*data(2))


def test_a_loop_runs_in_inference(pop: Any) -> None:
    class Loops(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return pop.for_loop(3, lambda t: t * 2, [x])[0]

    assert pop.inferenceModel(Loops().eval())(torch.ones(1)) == 8


def test_a_custom_backward_is_refused_rather_than_dropped() -> None:
    # PopTorch drops it silently. This is the only behaviour that the emulation does not follow.
    from accelerators import poptorch_emulation

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * 3

    class Custom(Regression):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            return F.mse_loss(Double.apply(self.net(x)), y)

    with pytest.raises(poptorch_emulation.Error, match="Double would be dropped"):
        poptorch_emulation.trainingModel(Custom())(*data(2))


@pytest.mark.parametrize(
    "ask",
    [
        lambda o: o.setExecutionStrategy("pipeline"),
        lambda o: o.Training.setAutomaticLossScaling(True),
        lambda o: o.Precision.enableStochasticRounding(True),
        lambda o: o.Precision.setPartialsType(torch.half),
        lambda o: o.Precision.enableFloatingPointExceptions(True),
        lambda o: o.useIpuModel(True),
        lambda o: o.useOfflineIpuTarget(),
        lambda o: o.inputReplicaGrouping(2),
        lambda o: o.updatableNamedBuffers(["mean"]),
        lambda o: o.enableSyntheticData(True),
        lambda o: o.TensorLocations,
        lambda o: o._Popart.set("groupNormStridedChannelGrouping", True),
    ],
)
def test_an_option_that_the_host_cannot_honour_is_refused(ask: Any) -> None:
    from accelerators import poptorch_emulation

    with pytest.raises(poptorch_emulation.Error, match="cannot be honoured"):
        ask(poptorch_emulation.Options())


def test_an_option_without_effect_on_the_host_is_recorded() -> None:
    from accelerators.poptorch_emulation import Options

    options = Options().enableExecutableCaching("cache").logCycleCount(True)
    options.setAvailableMemoryProportion({"IPU0": 0.1})
    assert options.not_modelled() == [
        "enableExecutableCaching",
        "logCycleCount",
        "setAvailableMemoryProportion",
    ]
    options.freeze()
    with pytest.raises(AttributeError, match="frozen"):
        options.modelName("net")
