from __future__ import annotations

import platform
import resource
from typing import Any, List

import pytest
import torch
from torch import nn

from accelerators import open_accelerator
from accelerators.cpu import CpuAccelerator, host_computation
from normlab import norms
from normlab.errors import DeviceUnavailable, OutOfDeviceMemory, UnsupportedModel
from normlab.nets import build
from normlab.norms import compiled, engine_fused
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Accelerator
from normlab.training.losses import cross_entropy


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "layer", "batch_size": 8, **fields})


def net(spec: JobSpec) -> nn.Module:
    torch.manual_seed(0)
    return build(spec.model, spec.normalizer, 3, 16, 32)


def samples(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 32, 32, generator=g), torch.arange(n) % 16


def test_the_cpu_is_opened_by_name_and_is_available() -> None:
    accelerator: Accelerator = open_accelerator("cpu", job(), threads=1)
    probe = accelerator.probe()
    assert accelerator.kind == "cpu"
    assert probe.available
    assert probe.memory_bytes is not None
    assert probe.memory_bytes > 2**28
    assert probe.versions["torch"] == torch.__version__


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(DeviceUnavailable, match="cpu, cuda, ipu"):
        open_accelerator("tpu", job())


def test_float16_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="bfloat16"):
        open_accelerator("cpu", job(precision="float16"))


def test_an_update_equals_plain_torch() -> None:
    spec = job(optimizer={"name": "sgd", "lr": 0.5, "momentum": 0.0})
    ours, theirs = net(spec), net(spec)
    x, y = samples(8)
    with CpuAccelerator(1).session(ours, spec) as session:
        session.prepare(0.25, 0.0)
        result = session.train(x, y)
    loss = cross_entropy(theirs(x), y)
    loss.backward()
    assert result.loss.item() == pytest.approx(loss.item())
    assert result.predictions == 8
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert b.grad is not None
        torch.testing.assert_close(a, b - 0.25 * b.grad)


def test_micro_batches_are_averaged() -> None:
    whole, parts = job(batch_size=8), job(batch_size=2, gradient_accumulation=4)
    models = [net(whole), net(parts)]
    x, y = samples(8)
    results = []
    for spec, model in zip((whole, parts), models):
        with CpuAccelerator(1).session(model, spec) as session:
            session.prepare(0.1, 0.0)
            results.append(session.train(x, y))
    torch.testing.assert_close(results[0].loss, results[1].loss)
    assert results[0].correct == results[1].correct
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_clipped_as_a_whole() -> None:
    spec = job(optimizer={"name": "sgd", "momentum": 0.0, "clip_norm": 1e-3})
    model = net(spec)
    before = [p.detach().clone() for p in model.parameters()]
    with CpuAccelerator(1).session(model, spec) as session:
        session.prepare(1.0, 0.0)
        session.train(*samples(8))
    moves = [(a.detach() - b).flatten() for a, b in zip(model.parameters(), before)]
    assert torch.cat(moves).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_evaluation_changes_nothing() -> None:
    spec = job(normalizer="batch")
    model = net(spec)
    with CpuAccelerator(1).session(model, spec) as session:
        before = session.state_dict()
        first = session.evaluate(*samples(8))
        second = session.evaluate(*samples(8))
        after = session.state_dict()
    assert torch.equal(first.loss, second.loss)
    assert all(torch.equal(before["model"][k], after["model"][k]) for k in before["model"])


def test_bfloat16_computes_in_it_and_keeps_float32_weights() -> None:
    spec = job(precision="bfloat16")
    model = net(spec)
    dtypes = []
    model[0].register_forward_hook(lambda _m, _x, y: dtypes.append(y.dtype))
    with CpuAccelerator(1).session(model, spec) as session:
        session.prepare(0.1, 0.0)
        result = session.train(*samples(8))
    assert dtypes == [torch.bfloat16]
    assert result.loss.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_session_restores_the_settings_of_the_process() -> None:
    threads = torch.get_num_threads()
    spec = job()
    with CpuAccelerator(threads + 1).session(net(spec), spec):
        assert torch.get_num_threads() == threads + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_threads_of_a_job_override_the_share_of_the_worker() -> None:
    accelerator = open_accelerator("cpu", job(threads=3), threads=1)
    assert isinstance(accelerator, CpuAccelerator)
    assert accelerator.threads == 3


def test_running_out_of_memory_is_reported() -> None:
    spec = job()
    session = CpuAccelerator(1).session(net(spec), spec)
    with pytest.raises(OutOfDeviceMemory, match="batch_size=8"), session:
        torch.empty(2**50)


def test_compiled_loops_are_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "load", lambda *_: object())
    for acceleration in ("kernels", "none"):
        spec = job(acceleration=acceleration)
        with CpuAccelerator(1).session(net(spec), spec):
            assert engine_fused.is_loaded() == (acceleration == "kernels")
    assert not engine_fused.is_loaded()


def test_without_a_compiler_a_job_that_requests_loops_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise DeviceUnavailable("no compiler")

    monkeypatch.setattr(compiled, "load", refuse)
    spec = job(acceleration="kernels")
    session = CpuAccelerator(1).session(net(spec), spec)
    with pytest.raises(DeviceUnavailable, match="acceleration 'kernels': no compiler"), session:
        pass


def test_the_gradient_of_all_sparse_logits_is_clipped_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = job(normalizer="sparse_switchable", optimizer={"lr": 1.0, "momentum": 0.0})
    model = net(spec)
    logits = norms.clipped_together(model)
    before = [p.detach().clone() for p in logits]
    x, y = samples(8)
    with CpuAccelerator(1).session(model, spec) as session:
        session.prepare(1.0, 0.0)
        raw: List[torch.Tensor] = []
        differentiate = session._differentiate

        def enlarge(loss: torch.Tensor) -> None:
            differentiate(loss)
            for p in logits:
                assert p.grad is not None
                p.grad.mul_(1e4)
            raw.extend(p.grad.clone() for p in logits if p.grad is not None)

        monkeypatch.setattr(session, "_differentiate", enlarge)
        session.train(x, y)
    norm = torch.cat(raw).norm()
    assert norm > 1
    for p, old, g in zip(logits, before, raw):  # a tenth of the rate
        torch.testing.assert_close(p.detach(), old - 0.1 * g / norm, rtol=1e-4, atol=1e-6)


def test_a_nondeterministic_operator_is_reported_with_an_alternative() -> None:
    words = r"^put_ does .* set deterministic to false"
    with pytest.raises(UnsupportedModel, match=words), host_computation(1, job()):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    with host_computation(1, job(deterministic=False)):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="must match"), host_computation(1, job()):
        torch.zeros(3).add_(torch.zeros(2))


@pytest.mark.parametrize("kind", ["online", "sparse_switchable", "batch_renorm"])
def test_compiled_loops_train_as_stock_operators_do(kind: str) -> None:
    x, y = samples(8)
    losses = []
    for acceleration in ("none", "kernels"):
        spec = job(normalizer=kind, acceleration=acceleration)
        try:
            with CpuAccelerator(1).session(net(spec), spec) as session:
                for step in range(4):
                    session.prepare(0.05, step / 4)
                    result = session.train(x, y)
                losses.append(float(result.loss))
        except DeviceUnavailable as e:
            pytest.skip(str(e))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_memory_is_kept_for_the_next_update() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(2**18) for _ in range(16)]  # of 1 MiB each, up to the top of the heap
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with host_computation(1, job()):
        faults()
        # other threads of this process may have some at the same time, but not each time
        assert min(faults() for _ in range(5)) < 16 * 2**20 // resource.getpagesize() // 10
