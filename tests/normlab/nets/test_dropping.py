"""Dropout and stochastic depth in our networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from normlab.nets import build
from normlab.nets.dropping import StochasticDepth
from normlab.specs.models import MODELS
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer
from tests.normlab.training.recording import small_job, train

BATCH = parse_normalizer("batch")


def net(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name=name, width=4, **options), BATCH, 3, 10, 32)


def test_a_sample_is_kept_whole_and_scaled_or_left_out() -> None:
    layer = StochasticDepth(0.25)
    torch.manual_seed(0)
    y = layer(torch.ones(4000, 2, 2))
    assert {round(v, 5) for v in y.unique().tolist()} == {0, round(4 / 3, 5)}
    assert torch.equal(y.amax(dim=(1, 2)), y.amin(dim=(1, 2)))
    assert float(y.mean()) == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()(y), y)


def test_the_probability_rises_from_block_to_block() -> None:
    found = net("resnet20", stochastic_depth=0.9).modules()
    depths = [m.probability for m in found if isinstance(m, StochasticDepth)]
    assert depths == pytest.approx([0.1 * i for i in range(1, 10)])


@pytest.mark.parametrize("name", [n for n, facts in MODELS.items() if facts.drops])
def test_a_network_has_what_its_facts_say_and_starts_as_without_it(name: str) -> None:
    facts = MODELS[name]
    options: Any = dict.fromkeys(facts.drops, 0.5)
    if facts.recurrent:
        spec, norm = ModelSpec(name=name, width=4, **options), parse_normalizer("layer")
        torch.manual_seed(0)
        dropped = build(spec, norm, 8, 8, 4)
    else:
        dropped = net(name, **options)
        plain = net(name)
        theirs = list(plain.parameters())
        assert all(torch.equal(a, b) for a, b in zip(dropped.parameters(), theirs))
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(dropped.eval()(x), plain.eval()(x))
    kinds = {nn.Dropout: "dropout", StochasticDepth: "stochastic_depth"}
    has = {kinds[type(m)] for m in dropped.modules() if type(m) in kinds}
    assert has == set(facts.drops)


def test_masks_follow_from_the_seed_and_the_update(tmp_path: Path) -> None:
    model = {"name": "preresnet8", "width": 4, "dropout": 0.2, "stochastic_depth": 0.2}
    fields: dict[str, Any] = {"model": model, "epochs": 1}
    first, _ = train(small_job(**fields), tmp_path / "first")
    again, _ = train(small_job(**fields), tmp_path / "again")
    assert first.points["train/loss"] == again.points["train/loss"]
