"""One call of a training program: its samples, its reduction, its update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.accelerators.poptorch.programs import Regression, data, plain_sgd


def trained(pop: Any, options: Any, x: Any, y: Any, lr: float = 0.1, steps: int = 3) -> Any:
    model = Regression()
    optimizer = pop.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    program = pop.trainingModel(model, options, optimizer)
    for _ in range(steps):
        program(x, y)
    program.destroy()
    return model


def assert_equal_weights(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    for p, q in zip(a.parameters(), b.parameters()):
        torch.testing.assert_close(p, q, **tolerance)


# PopTorch tests/optimizers_test.py: parameters equal torch's after 10 steps, at float32 defaults.
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_ten_steps_of_each_optimizer_equal_torchs(pop: Any, name: str) -> None:
    x, y = data(4)
    extra = {"momentum": 0.9, "weight_decay": 0.01} if name in ("SGD", "RMSprop") else {}
    ours, theirs = Regression(), Regression()
    program = pop.trainingModel(
        ours, pop.Options(), getattr(pop.optim, name)(ours.parameters(), lr=0.01, **extra)
    )
    plain = getattr(torch.optim, name)(theirs.parameters(), lr=0.01, **extra)
    for _ in range(10):
        _, loss = program(x, y)
        plain.zero_grad()
        expected = theirs(x, y)[1]
        expected.backward()
        plain.step()
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-5)
    program.copyWeightsToHost()
    assert_equal_weights(ours, theirs)


# batching_test.py, gradient accumulation: Mean over G micro-batches is the step of the whole batch.
def test_mean_accumulation_equals_one_large_batch(pop: Any) -> None:
    x, y = data(8)
    accumulating = pop.Options()
    accumulating.Training.gradientAccumulation(4)
    assert_equal_weights(
        trained(pop, accumulating, x, y), trained(pop, pop.Options(), x, y), rtol=1e-5, atol=1e-6
    )


# batching_test.py: Sum with G = 2 at half the rate equals Mean.
def test_sum_needs_the_rate_divided_by_the_accumulation(pop: Any) -> None:
    x, y = data(8)
    mean, added = pop.Options(), pop.Options()
    for options in (mean, added):
        options.Training.gradientAccumulation(2)
    added.Training.accumulationAndReplicationReductionType(pop.ReductionType.Sum)
    assert_equal_weights(trained(pop, mean, x, y, 0.1), trained(pop, added, x, y, 0.05))


# options.py, deviceIterations: the weights change between the iterations of one call.
def test_two_device_iterations_are_two_calls(pop: Any) -> None:
    x, y = data(8)
    both = trained(pop, pop.Options().deviceIterations(2), x, y, steps=1)
    apart = Regression()
    optimizer = pop.optim.SGD(apart.parameters(), lr=0.1, momentum=0.9)
    program = pop.trainingModel(apart, pop.Options(), optimizer)
    for xi, yi in zip(x.chunk(2), y.chunk(2)):
        program(xi, yi)
    program.destroy()
    assert_equal_weights(both, apart)


# The law of data parallelism; batch_size R*B in one step is the mean of R replicas of B.
def test_replicas_average_like_accumulation(replicas: Any) -> None:
    x, y = data(8)
    replicated = trained(replicas, replicas.Options().replicationFactor(4), x, y)
    accumulated = replicas.Options()
    accumulated.Training.gradientAccumulation(4)
    assert_equal_weights(replicated, trained(replicas, accumulated, x, y), rtol=1e-5, atol=1e-6)


# __init__.py: without an optimizer it is SGD at 0.01.
def test_the_default_optimizer_is_slow_sgd(pop: Any) -> None:
    x, y = data(4)
    ours, theirs = Regression(), Regression()
    program = pop.trainingModel(ours)
    program(x, y)
    program.destroy()
    plain_sgd(theirs, x, y, 1, 0.01, 1)
    assert_equal_weights(ours, theirs)


# optim.py: torch's own optimizers are accepted unchanged.
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_optimizers_from_torch_are_accepted(pop: Any, name: str) -> None:
    x, y = data(4)
    ours, theirs = Regression(), Regression()
    program = pop.trainingModel(
        ours, pop.Options(), getattr(torch.optim, name)(ours.parameters(), lr=0.01)
    )
    program(x, y)
    program.destroy()
    theirs(x, y)[1].backward()
    getattr(torch.optim, name)(theirs.parameters(), lr=0.01).step()
    assert_equal_weights(ours, theirs)


# optim.py: loss_scaling is undone before the update.
def test_scaling_the_loss_changes_no_float32_update(pop: Any) -> None:
    x, y = data(4)
    scaled, plain = Regression(), Regression()
    for model, factor in ((scaled, 128.0), (plain, 1.0)):
        optimizer = pop.optim.SGD(model.parameters(), lr=0.1, loss_scaling=factor)
        program = pop.trainingModel(model, pop.Options(), optimizer)
        program(x, y)
        program.destroy()
    assert_equal_weights(scaled, plain)


# custom_loss_test.py: an identity loss without reduction has a gradient of ones.
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_an_identity_loss_is_differentiated_as_it_is_reduced(pop: Any, reduction: str) -> None:
    class Squares(Regression):
        def forward(self, x: Any, y: Any) -> Any:
            return pop.identity_loss((self.net(x) - y).square(), reduction=reduction)

    x, y = data(4)
    ours, theirs = Squares(), Regression()
    program = pop.trainingModel(ours, None, pop.optim.SGD(ours.parameters(), lr=0.01))
    program(x, y)
    program.destroy()
    squares = (theirs.net(x) - y).square()
    (squares.mean() if reduction == "mean" else squares.sum()).backward()
    torch.optim.SGD(theirs.parameters(), lr=0.01).step()
    assert_equal_weights(ours, theirs)


# optimizers_test.py, clipping: max_grad_norm equals clip_grad_norm_.
def test_clipping_is_by_the_global_norm(pop: Any) -> None:
    x, y = data(4)
    ours, theirs = Regression(), Regression()
    program = pop.trainingModel(
        ours, pop.Options(), pop.optim.SGD(ours.parameters(), lr=0.1, max_grad_norm=0.01)
    )
    program(x, y)
    program.destroy()
    theirs(x, y)[1].backward()
    nn.utils.clip_grad_norm_(theirs.parameters(), 0.01)
    torch.optim.SGD(theirs.parameters(), lr=0.1).step()
    assert_equal_weights(ours, theirs, rtol=1e-5, atol=1e-5)


# A ResNet block's step equals plain torch at float32 defaults.
def test_a_convolutional_step_equals_torch(pop: Any) -> None:
    def net() -> nn.Module:
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        )

    x, y = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)), data(4)[1]
    ours, theirs = Regression(net()), Regression(net())
    program = pop.trainingModel(ours, pop.Options(), pop.optim.SGD(ours.parameters(), lr=0.1))
    program(x, y)
    program.destroy()
    plain_sgd(theirs, x, y, 1, 0.1, 1)
    assert_equal_weights(ours, theirs)
