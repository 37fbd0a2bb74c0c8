from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from normlab.data import load
from normlab.data.textures32 import scenes, texture
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

NOWHERE = Path("/nonexistent")
STYLES = ("checks", "stripes", "waves", "blobs")


def test_a_target_is_the_picture_on_top_of_the_texture_that_a_job_names() -> None:
    spec, facts = DatasetSpec(name="textures32", options={"style": "waves"}), DATASETS["textures32"]
    data = load(spec, NOWHERE)
    assert (len(data.train), len(data.test)) == (facts.train_size, facts.test_size)
    assert (data.channels, data.image_size) == (facts.channels, facts.image_size)
    assert torch.equal(data.train.y[:, :3], data.train.x)
    assert torch.equal(data.test.y[7, 3:], texture("waves"))
    assert torch.equal(data.train.y[0, 3:], data.train.y[999, 3:])
    assert data.train.x.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_textures_differ_and_are_always_the_same() -> None:
    drawn = {name: texture(name) for name in STYLES}
    assert all(torch.equal(texture(name), x) for name, x in drawn.items())
    for name, x in drawn.items():
        assert x.mean(dim=(1, 2)).abs().max() < 1e-5
        assert x.std(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
        others = [drawn[other] for other in STYLES if other != name]
        assert min(float((x - other).abs().mean()) for other in others) > 0.5


def test_the_contrast_of_pictures_ranges_over_a_factor_of_ten() -> None:
    spread = scenes(400, 1).std(dim=(1, 2, 3))
    assert spread.quantile(0.95) / spread.quantile(0.05) > 4


def test_an_unknown_style_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValidationError, match="'checks', 'stripes', 'waves' or 'blobs'"):
        DatasetSpec(name="textures32", options={"style": "monet"})
