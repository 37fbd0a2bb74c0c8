"""Frozen parameters keep their values, and everything else trains as usual."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from normlab.errors import InvalidSpec
from normlab.nets import build
from tests.normlab.training.recording import small_job, train

NET = {"model": {"name": "convnet", "width": 16}}


def test_frozen_parameters_stay_and_the_others_learn(tmp_path: Path) -> None:
    spec = small_job(
        **NET, freeze=["0.*", "1.*"], epochs=1,
        optimizer={"weight_decay": 0.1, "clip_norm": 1.0}, gradient_accumulation=2,
    )  # fmt: skip
    recorder, _ = train(spec, tmp_path)
    torch.manual_seed(spec.seed)
    fresh = build(spec.model, spec.normalizer, 1, 10, 16)
    after = load_file(recorder.events("ArtifactWritten")[0].path)
    assert recorder.events("Started")[0].environment["frozen"][0] == "0.weight"
    for name, parameter in fresh.named_parameters():
        assert torch.equal(after[name], parameter) == name.startswith(("0.", "1.")), name


def test_diagnostics_look_at_frozen_layers_too(tmp_path: Path) -> None:
    looks = ["scale_invariance", "landscape", "gradient_bias"]
    recorder, _ = train(small_job(**NET, freeze=["0.*"], epochs=1, diagnostics=looks), tmp_path)
    assert len(recorder.points["scale_invariance/0"]) == 1
    assert {"landscape/beta", "gradient_bias/relative_error"} <= set(recorder.points)


def test_freezing_nothing_or_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSpec, match=r"no parameter is called 'stem\.\*'; there are 0\.weight"
    ):
        train(small_job(**NET, freeze=["stem.*"]), tmp_path)
    with pytest.raises(InvalidSpec, match="freezes every parameter"):
        train(small_job(**NET, freeze=["*"]), tmp_path)
