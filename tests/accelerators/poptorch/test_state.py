"""State on the device: weights, buffers, optimizer."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.accelerators.poptorch.programs import Regression, Running, data


def program_of(pop: Any, model: nn.Module, options: Any = None, lr: float = 0.1) -> Any:
    optimizer = pop.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return pop.trainingModel(model, options or pop.Options(), optimizer)


# attach_detach_test.py: every method that needs a program raises an error without one.
@pytest.mark.parametrize(
    "method", ["copyWeightsToHost", "copyWeightsToDevice", "attachToDevice", "detachFromDevice"]
)
def test_methods_need_a_program(pop: Any, method: str) -> None:
    program = program_of(pop, Regression())
    with pytest.raises(pop.Error, match="not been compiled or has been destroyed"):
        getattr(program, method)()


def test_a_destroyed_program_cannot_be_used(pop: Any) -> None:
    program = program_of(pop, Regression())
    program(*data(2))
    assert (program.isCompiled(), program.isAttachedToDevice()) == (True, True)
    program.destroy()
    assert not program.isCompiled()
    with pytest.raises(pop.Error, match="not been compiled or has been destroyed"):
        program.copyWeightsToHost()


# attach_detach_test.py: a call attaches the device again, with the weights of the host.
def test_a_detached_program_comes_back_with_the_weights_of_the_host(pop: Any) -> None:
    model = Regression()
    program = program_of(pop, model, lr=0.0)
    x, y = data(2)
    program(x, y)
    program.detachFromDevice()
    assert not program.isAttachedToDevice()
    with torch.no_grad():
        model.net.weight.zero_()
        model.net.bias.zero_()
    _, loss = program(x, y)
    assert program.isAttachedToDevice()
    torch.testing.assert_close(loss, F.mse_loss(torch.zeros_like(y), y))


def test_momentum_survives_a_detached_program(pop: Any) -> None:
    x, y = data(4)
    losses = []
    for detaches in (False, True):
        program = program_of(pop, Regression())
        found = []
        for _ in range(4):
            found.append(program(x, y)[1])
            if detaches:
                program.detachFromDevice()
        losses.append(torch.stack(found))
    torch.testing.assert_close(*losses)


def test_detaching_twice_is_an_error(pop: Any) -> None:
    program = program_of(pop, Regression())
    program(*data(2))
    program.detachFromDevice()
    with pytest.raises(pop.Error, match="Device is not attached"):
        program.detachFromDevice()


def test_wrapping_twice_needs_a_destroy_in_between(pop: Any) -> None:
    model = Regression()
    program = program_of(pop, model)
    with pytest.raises(RuntimeError, match="already been wrapped"):
        program_of(pop, model)
    program.destroy()
    program_of(pop, model)


# weights_writing_test.py: reading the parameters copies them from the device.
def test_reading_the_weights_copies_them_from_the_device(pop: Any) -> None:
    model = Regression()
    before = model.net.weight.detach().clone()
    program = program_of(pop, model)
    program(*data(2))
    assert not torch.equal(next(iter(model.parameters())), before)


def test_changed_host_weights_reach_the_device_when_copied(pop: Any) -> None:
    model = Regression()
    program = program_of(pop, model, lr=0.0)
    x, y = data(2)
    _, first = program(x, y)
    program.copyWeightsToHost()
    with torch.no_grad():
        model.net.weight.zero_()
        model.net.bias.zero_()
    program.copyWeightsToDevice()
    _, second = program(x, y)
    torch.testing.assert_close(second, F.mse_loss(torch.zeros_like(y), y))
    assert first != second


def test_compiling_changes_nothing(pop: Any) -> None:
    model = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    program = program_of(pop, model)
    program.compile(*data(4))
    program.destroy()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name])


# norms_test.py: running statistics after ten batches equal torch's.
def test_running_statistics_are_updated_by_every_micro_batch(pop: Any) -> None:
    model = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    plain = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    plain.load_state_dict(model.state_dict())
    options = pop.Options()
    options.Training.gradientAccumulation(5)
    program = program_of(pop, model, options, lr=0.0)
    for seed in range(2):
        x, y = data(20, seed)
        program(x, y)
        for xi, yi in zip(x.chunk(5), y.chunk(5)):
            plain(xi, yi)
    program.copyWeightsToHost()
    torch.testing.assert_close(model.net[1].running_mean, plain.net[1].running_mean)
    torch.testing.assert_close(model.net[1].running_var, plain.net[1].running_var)


# norms_test.py: evaluation during a training does not change the statistics.
def test_an_evaluation_in_between_leaves_the_statistics(pop: Any) -> None:
    class Switches(Regression):
        def forward(self, x: Tensor, y: Any = None) -> Any:
            out = self.net(x)
            return F.mse_loss(out, y) if self.training else out

    model = Switches(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    trainer = program_of(pop, model.train())
    evaluator = pop.inferenceModel(model.eval())
    x, y = data(6)
    trainer(x, y)
    trainer.copyWeightsToHost()
    before = model.net[1].running_mean.clone()
    evaluator(x + 5)
    trainer.copyWeightsToHost()
    torch.testing.assert_close(model.net[1].running_mean, before)


# buffers_test.py: batch norm's statistics are not broadcast; Graphcore trains with 16 replicas.
def test_batch_norm_may_be_replicated_and_reads_back_the_first_replica(replicas: Any) -> None:
    model = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    plain = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    plain.load_state_dict(model.state_dict())
    program = program_of(replicas, model, replicas.Options().replicationFactor(2), lr=0.0)
    x, y = data(8)
    program(x, y)
    plain(x[:4], y[:4])
    program.copyWeightsToHost()
    torch.testing.assert_close(model.net[1].running_mean, plain.net[1].running_mean)


# JITDispatch::addParameter: buffers that are not floating-point are constants.
def test_an_integer_buffer_does_not_advance(pop: Any) -> None:
    model = Regression(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    program = program_of(pop, model)
    program(*data(4))
    program.copyWeightsToHost()
    assert int(model.net[1].num_batches_tracked) == 0


# buffers_test.py: test_buffer_update_with_param.
def test_a_buffer_changes_once_for_each_micro_batch(pop: Any) -> None:
    model = Running(nn.Linear(3, 2))
    options = pop.Options().deviceIterations(3).outputMode(pop.OutputMode.All)
    x, y = data(6)
    totals, _ = program_of(pop, model, options)(x, y)
    torch.testing.assert_close(totals, x.view(3, 6).sum(1).cumsum(0))


def test_a_reassigned_buffer_is_refused(pop: Any) -> None:
    class Reassigns(Running):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            self.total = self.total + x.sum()
            return F.mse_loss(self.net(x), y)

    with pytest.raises(pop.Error, match=r"Buffer .*total.* is reassigned"):
        program_of(pop, Reassigns(nn.Linear(3, 2)))(*data(2))


def test_a_removed_buffer_is_refused(pop: Any) -> None:
    class Removes(Running):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            loss = F.mse_loss(self.net(x), y) + 0 * self.total.sum()
            del self.total
            return pop.identity_loss(loss, reduction="none")

    with pytest.raises((pop.Error, RuntimeError)):
        program_of(pop, Removes(nn.Linear(3, 2)))(*data(2))


# buffers_test.py: error on remote buffers of replicas.
def test_replicas_do_not_broadcast_changed_buffers(replicas: Any) -> None:
    program = program_of(
        replicas, Running(nn.Linear(3, 2)), replicas.Options().replicationFactor(2)
    )
    with pytest.raises(replicas.Error, match="does not support broadcasting buffers"):
        program(*data(4))


def test_each_replica_has_separate_buffers_and_the_first_is_read(replicas: Any) -> None:
    options = replicas.Options().replicationFactor(2).broadcastBuffers(False)
    model = Running(nn.Linear(3, 2))
    program = program_of(replicas, model, options.outputMode(replicas.OutputMode.All))
    x, y = data(4)
    totals, _ = program(x, y)
    torch.testing.assert_close(totals, x.view(2, 6).sum(1))
    program.copyWeightsToHost()
    torch.testing.assert_close(model.total, totals[:1])


def test_a_plain_tensor_attribute_is_a_constant(pop: Any) -> None:
    class Counts(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.seen = torch.zeros(1)

        def forward(self, x: Tensor, y: Tensor) -> Any:
            self.seen += 1
            return self.seen + 0.0, F.mse_loss(self.net(x), y)

    program = program_of(pop, Counts())
    x, y = data(2)
    assert program(x, y)[0] == program(x, y)[0] == 1


# optimizers_test.py: lr = 0, then setOptimizer.
def test_only_set_optimizer_sends_a_new_rate(pop: Any) -> None:
    model = Regression()
    optimizer = pop.optim.SGD(model.parameters(), lr=0.0)
    program = pop.trainingModel(model, pop.Options(), optimizer)
    x, y = data(2)
    _, before = program(x, y)
    optimizer.param_groups[0]["lr"] = 0.1
    assert program(x, y)[1] == before
    program.setOptimizer(optimizer)
    program(x, y)
    assert program(x, y)[1] < before


def test_an_attribute_that_was_not_given_is_a_constant(pop: Any) -> None:
    model = Regression()
    optimizer = pop.optim.SGD(model.parameters(), lr=0.1)
    program = pop.trainingModel(model, pop.Options(), optimizer)
    program(*data(2))
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(pop.Error, match="momentum"):
        program.setOptimizer(optimizer)


# optim.py: attributes that torch's constructors hide are compiled in; their rate may change.
def test_the_betas_of_torchs_adam_are_constants(pop: Any) -> None:
    model = Regression()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    program = pop.trainingModel(model, pop.Options(), optimizer)
    program(*data(2))
    optimizer.param_groups[0]["lr"] = 0.01
    program.setOptimizer(optimizer)
    optimizer.param_groups[0]["betas"] = (0.5, 0.5)
    with pytest.raises((pop.Error, ValueError)):
        program.setOptimizer(optimizer)


def test_a_state_from_the_device_is_marked_as_such(pop: Any) -> None:
    model = Regression()
    optimizer = pop.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pop.trainingModel(model, pop.Options(), optimizer)(*data(2))
    assert {"ipu_state", "ipu_param"} <= set(optimizer.state_dict())


# poptorch's state dictionaries can be loaded without PopTorch.
def test_the_weights_of_a_wrapped_model_are_a_plain_state(pop: Any) -> None:
    model, plain = Regression(), Regression()
    program_of(pop, model)(*data(2))
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.net.weight, next(iter(model.parameters())))


def test_a_custom_optimizer_is_refused(pop: Any) -> None:
    class Mine(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

    model = Regression()
    with pytest.raises((pop.Error, AssertionError, ValueError, TypeError)):
        pop.trainingModel(model, pop.Options(), Mine(model.parameters()))(*data(2))


# optimizers_test.py: the state travels as ipu_state.
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_a_run_continued_from_its_state_gives_the_same_numbers(pop: Any, name: str) -> None:
    def start() -> Any:
        model = Regression()
        extra = {"momentum": 0.9} if name != "Adam" else {}
        optimizer = getattr(pop.optim, name)(model.parameters(), lr=0.05, **extra)
        return model, optimizer, pop.trainingModel(model, pop.Options(), optimizer)

    x, y = data(4)
    model, optimizer, program = start()
    for _ in range(2):
        program(x, y)
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    expected = [program(x, y)[1] for _ in range(2)]

    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    model, optimizer, program = start()
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    assert [program(x, y)[1] for _ in range(2)] == expected


def test_a_state_from_a_torch_optimizer_is_refused(pop: Any) -> None:
    model = Regression()
    native = torch.optim.SGD(model.parameters(), lr=0.1).state_dict()
    with pytest.raises(pop.Error, match="Only IPU optimizer states"):
        pop.optim.SGD(model.parameters(), lr=0.1).load_state_dict(native)


def test_inference_uses_the_weights_that_training_has(pop: Any) -> None:
    class Switches(Regression):
        def forward(self, x: Tensor, y: Any = None) -> Any:
            out = self.net(x)
            return F.mse_loss(out, y) if self.training else out

    model = Switches()
    trainer = program_of(pop, model.train())
    evaluator = pop.inferenceModel(model.eval())
    x, y = data(4)
    for _ in range(2):
        before = evaluator(x)
        trainer(x, y)
        assert not torch.equal(evaluator(x), before)
    trainer.copyWeightsToHost()
    torch.testing.assert_close(evaluator(x), x @ model.net.weight.T + model.net.bias)


# options.py: randomSeed also seeds the host.
def test_random_seed_seeds_torch(pop: Any) -> None:
    pop.Options().randomSeed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_a_program_knows_that_it_is_on_the_device(pop: Any) -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if pop.isRunningOnIpu() else x

    assert pop.inferenceModel(Asks().eval())(torch.ones(1)) == 2
    assert not pop.isRunningOnIpu()


# batching.rst: combinedBatchSize.
def test_a_loader_yields_the_arguments_of_a_call(replicas: Any) -> None:
    options = replicas.Options().deviceIterations(2).replicationFactor(2)
    options.Training.gradientAccumulation(3)
    dataset = torch.utils.data.TensorDataset(torch.arange(30.0))
    loader = replicas.DataLoader(options, dataset, batch_size=2)
    assert loader.combinedBatchSize == 2 * 2 * 2 * 3
    assert [len(x) for (x,) in loader] == [24]
