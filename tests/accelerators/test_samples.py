"""A normalizer applied to a few values, for the picture of its forward and backward pass."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from accelerators.inspection.server import answer
from normlab.specs.normalizers import BY_KIND

_ASKED = {"samples": 4, "side": 4, "before": 3, "shift": 0.5, "scale": 2.0}


def sample(normalizer: Any, **asked: float) -> dict[str, Any]:
    question = {"sample": {"normalizer": normalizer, **_ASKED, **asked}}
    return answer(json.dumps(question).encode())


def maps(found: dict[str, Any], name: str) -> Any:
    return np.array(found[name]).reshape(found["shape"])


@pytest.mark.parametrize("kind", list(BY_KIND.own))
def test_every_kind_has_values_on_both_sides(kind: str) -> None:
    found = sample(kind)
    sizes = {len(found[name]) for name in ("x", "y", "dy", "dx")}
    assert sizes == {int(np.prod(found["shape"]))}
    assert found["what"] == {"both": "weights"}.get(BY_KIND[kind].acts_on, BY_KIND[kind].acts_on)
    assert bool(found["doc"]) == (kind != "none")


def test_batch_norm_leaves_no_mean_in_a_channel_forward_or_backward() -> None:
    found = sample("batch")
    for name in ("y", "dx"):
        assert np.abs(maps(found, name).mean(axis=(0, 2))).max() < 1e-4
    assert np.abs(maps(found, "dy").mean(axis=(0, 2))).min() > 0.1


def test_evaluation_uses_the_state_that_updates_have_left() -> None:
    fresh, trained = sample("batch", before=0), sample("batch", before=100)
    assert np.abs(np.subtract(trained["evaluated"], trained["y"])).mean() < 0.5
    assert np.abs(np.subtract(fresh["evaluated"], fresh["y"])).mean() > 0.5


def test_a_standardized_filter_has_no_mean() -> None:
    found = sample("weight_standardized")
    assert found["what"] == "weights"
    assert np.abs(maps(found, "y").mean(axis=2)).max() < 1e-4


def test_what_cannot_be_normalized_says_why() -> None:
    assert "one value" in sample("batch", samples=1, side=1)["error"]
