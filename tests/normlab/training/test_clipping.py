"""Adaptive gradient clipping: each unit by its weights, against the formula in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accelerators.cpu import CpuAccelerator
from normlab.nets import build
from normlab.norms import apply_weight_normalization
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.training.clipping import AdaptiveClipping
from tests.normlab.training.recording import small_job

RATIO = 0.05


def clipped(w: Any, g: Any, units: int) -> Any:
    """Equation 3 of arXiv:2102.06171, with the least norm of its code; a unit in each row."""
    w, g = w.reshape(units, -1), g.reshape(units, -1)
    most = RATIO * np.maximum(np.sqrt((w**2).sum(1, keepdims=True)), 1e-3)
    found = np.sqrt((g**2).sum(1, keepdims=True))
    return np.where(found > most, g * most / np.maximum(found, 1e-6), g)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ConvTranspose2d(4, 5, 2), nn.Linear(5, 2))
    made = nn.Sequential(*layers).double()
    nn.init.zeros_(made[0].weight[1])
    for i, p in enumerate(made.parameters()):
        p.grad = torch.randn_like(p) * 10.0 ** (i % 3 - 2)
    return made


def test_each_unit_is_clipped_as_the_formula_says() -> None:
    model, before = net(), net()
    AdaptiveClipping(model, RATIO)()
    for name, p in model.named_parameters():
        old: Any = before.get_parameter(name)
        w, g = old.detach(), old.grad
        if name == "2.weight":  # transposed: the output channels are second
            w, g, found = w.transpose(0, 1), g.transpose(0, 1), p.grad.transpose(0, 1)
        else:
            found = p.grad
        if name.startswith("3."):
            assert torch.equal(found, g)  # the last layer learns freely
            continue
        units = len(w) if w.dim() > 1 else 1
        expected = clipped(w.numpy(), g.numpy(), units).reshape(found.shape)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_weights_of_zero_can_start_to_learn() -> None:
    model = net()
    model[0].weight.grad[1] = 1.0
    AdaptiveClipping(model, RATIO)()
    assert float(model[0].weight.grad[1].norm()) == pytest.approx(1e-3 * RATIO)


@pytest.mark.parametrize("kind", ["weight", "scaled_weight_standardized"])
def test_where_weights_are_computed_what_is_stored_counts(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.Conv2d(4, 2, 1)).double()
    apply_weight_normalization(model, kind)
    model(torch.randn(2, 3, 4, 4).double()).square().sum().backward()
    parts: Any = model[0].parametrizations.weight
    w, g = (t.detach().transpose(0, 1).numpy() for t in (parts.original1, parts.original1.grad))
    expected = clipped(w, g, 4).reshape(w.shape)
    AdaptiveClipping(model, RATIO)()
    found = parts.original1.grad.transpose(0, 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_job_moves_no_unit_by_more_than_the_ratio() -> None:
    optimizer = {"name": "sgd", "momentum": 0.0, "clip_ratio": 1e-3}
    spec = small_job(normalizer="scaled_weight_standardized", optimizer=optimizer)
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith("original1")}
    x, y = torch.randn(8, 1, 8, 8), torch.arange(8)
    with CpuAccelerator(1).session(model, spec) as session:
        session.prepare(1.0, 0.0)
        session.train(x[: spec.samples_per_update], y[: spec.samples_per_update])
    for name, p in model.named_parameters():
        if name in before:
            step = (p.detach() - before[name]).flatten(1).norm(dim=1)
            assert (step <= 1.01e-3 * before[name].flatten(1).norm(dim=1)).all()
            assert step.any()


def test_both_ways_of_clipping_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clip_norm=1 with clip_ratio=0.01: .*choose one"):
        small_job(optimizer={"name": "sgd", "clip_norm": 1, "clip_ratio": 0.01})


def test_an_ipu_refuses_it_at_the_door() -> None:
    spec = small_job(device="ipu", optimizer={"name": "sgd", "clip_ratio": 0.01})
    assert "optimizer.clip_ratio" in [problem.field for problem in check(spec, None)]


def test_jobs_without_this_clipping_keep_their_fingerprints() -> None:
    plain = JobSpec.model_validate({"normalizer": "group"})
    before = "5eb8372711f29337ad8e04e2f604382c0d607cfade89047edcd168af3addc0b7"
    assert plain.fingerprint() == before  # before there was such a field
    asked = JobSpec.model_validate({"normalizer": "group", "optimizer": {"clip_ratio": 0.01}})
    assert asked.fingerprint() != before
