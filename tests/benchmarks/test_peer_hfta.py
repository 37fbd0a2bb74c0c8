"""HFTA is measured where it runs; where it does not, the benchmark tells why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import peer_hfta
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.training.packs.session import PackSession

RATE = 0.1


def test_a_python_without_hfta_is_told_by_its_own_words() -> None:
    assert peer_hfta.reason_against(Path(sys.executable)) == (
        "ModuleNotFoundError: No module named 'hfta'"
    )


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert peer_hfta.reason_against(tmp_path / "python") == f"there is no {tmp_path / 'python'}"


def test_a_peer_that_fails_later_ends_the_benchmark_with_its_words() -> None:
    nets, x, y, _ = _pack("sgd")
    fused = peer_hfta.fused(Path(sys.executable), nets, x, y, optimizer="sgd", rate=RATE)
    with pytest.raises(SystemExit, match="HFTA: ModuleNotFoundError"), fused:
        pass


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_hfta_trains_what_a_pack_trains(optimizer: str) -> None:
    reason = peer_hfta.reason_against(peer_hfta.PYTHON)
    if reason is not None:
        pytest.skip(reason)
    nets, x, y, specs = _pack(optimizer)
    session = PackSession(nets, specs)
    session.prepare([RATE] * len(specs), 0.0)
    ours = torch.stack([session.train(x, y).losses for _ in range(peer_hfta.FIRST)])
    how = {"optimizer": optimizer, "rate": RATE}
    with peer_hfta.fused(peer_hfta.PYTHON, nets, x, y, **how) as fused:
        torch.testing.assert_close(fused.losses, ours, rtol=1e-4, atol=0)
        assert fused.seconds(2) > 0


def _pack(
    optimizer: str,
) -> tuple[list[torch.nn.Module], torch.Tensor, torch.Tensor, list[JobSpec]]:
    torch.manual_seed(0)
    fields = {"normalizer": "batch", "optimizer": {"name": optimizer}}
    specs = [JobSpec.model_validate({**fields, "seed": seed}) for seed in range(3)]
    nets = [build(spec.model, spec.normalizer, 1, 4, 16) for spec in specs]
    x, y = torch.randn(3, 5, 1, 16, 16), torch.randint(4, (3, 5))
    return nets, x, y, specs
