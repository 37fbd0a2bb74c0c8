"""The result of a call: shapes, types and order for each output mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.accelerators.poptorch.programs import Regression, data


class Sums(nn.Module):
    """Returns the sum of its micro-batch, 0-dim and (1,), as its loss."""

    def __init__(self, pop: Any) -> None:
        super().__init__()
        self.identity_loss = pop.identity_loss
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        total = x.sum()
        return total.reshape(1), self.identity_loss(total + 0 * self.w.sum(), reduction="sum")


def outputs(pop: Any, options: Any, n: int) -> Any:
    model = Sums(pop)
    program = pop.trainingModel(model, options, pop.optim.SGD(model.parameters(), lr=0.0))
    result = program(torch.arange(float(n)).unsqueeze(1))
    program.destroy()
    return result


def options_with(pop: Any, mode: str, iterations: int = 1, accumulation: int = 1) -> Any:
    options = pop.Options().deviceIterations(iterations)
    options.Training.gradientAccumulation(accumulation)
    return options.outputMode(pop.OutputMode[mode])


# batching_test.py, output modes.
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("All", [0.0, 1.0, 2.0, 3.0]),
        ("Sum", [6.0]),
        ("Final", [3.0]),
        ("Default", [3.0]),
    ],
)
def test_each_output_mode_returns_its_micro_batches(
    pop: Any, mode: str, expected: list[float]
) -> None:
    column, _ = outputs(pop, options_with(pop, mode, iterations=2, accumulation=2), 4)
    assert column.tolist() == expected


# batching_test.py: EveryN with N = 5 of 10 iterations returns those with index 4 and 9.
def test_every_fifth_of_ten_iterations_is_the_fourth_and_the_ninth(pop: Any) -> None:
    options = pop.Options().deviceIterations(10).outputMode(pop.OutputMode.EveryN, 5)
    column, _ = outputs(pop, options, 10)
    assert column.tolist() == [4.0, 9.0]


# Compiler::popartBatchDimForAnchor: Sum and Final return one value for each replica.
def test_sum_adds_over_accumulation_and_keeps_replicas_apart(replicas: Any) -> None:
    options = options_with(replicas, "Sum", accumulation=2).replicationFactor(2)
    column, _ = outputs(replicas, options, 4)
    assert column.tolist() == [0.0 + 2.0, 1.0 + 3.0]  # dim 0 is [accumulation, replica]


def test_final_returns_the_last_micro_batch_of_every_replica(replicas: Any) -> None:
    options = options_with(replicas, "Final", iterations=2, accumulation=2).replicationFactor(2)
    column, loss = outputs(replicas, options, 8)
    assert column.tolist() == loss.tolist() == [6.0, 7.0]


# PopART's dataflow.hpp: dimension 0 is [iteration, accumulation, replica, micro-batch].
def test_all_outputs_come_in_the_order_of_the_inputs(replicas: Any) -> None:
    options = options_with(replicas, "All", iterations=2, accumulation=2).replicationFactor(2)
    column, _ = outputs(replicas, options, 16)  # micro-batches of two
    assert column.tolist() == [float(4 * i + 1) for i in range(8)]


def test_a_single_loss_has_no_dimension(pop: Any) -> None:
    assert outputs(pop, options_with(pop, "Final"), 1)[1].shape == ()
    assert outputs(pop, options_with(pop, "All", iterations=3), 3)[1].shape == (3,)


def test_inference_returns_all_outputs_by_default(pop: Any) -> None:
    model = nn.Linear(3, 2).eval()
    x, _ = data(6)
    program = pop.inferenceModel(model, pop.Options().deviceIterations(3))
    torch.testing.assert_close(program(x), model(x).detach())


# poptorch/source/Utils.cpp: 64-bit types come back as 32-bit ones.
def test_long_and_double_come_back_as_int_and_float(pop: Any) -> None:
    class Types(nn.Module):
        def forward(self, x: Tensor, n: Tensor) -> Any:
            return x * 2, n + 1

    x, n = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.int64)
    doubled, next_n = pop.inferenceModel(Types().eval())(x, n)
    assert (doubled.dtype, next_n.dtype) == (torch.float32, torch.int32)


# misc_test.py: backward() is part of the program.
def test_backward_on_an_output_is_refused(pop: Any) -> None:
    model = Regression()
    program = pop.trainingModel(model)
    _, loss = program(*data(2))
    with pytest.raises(pop.Error, match="backward"):
        loss.backward()
