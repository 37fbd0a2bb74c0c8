from __future__ import annotations

from pathlib import Path

import torch

from normlab.data import load
from normlab.data.scenes32 import draw
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

NOWHERE = Path("/nonexistent")


def test_scenes_match_the_catalogue() -> None:
    data, facts = load(DatasetSpec(name="scenes32"), NOWHERE), DATASETS["scenes32"]
    assert (len(data.train), len(data.test)) == (facts.train_size, facts.test_size)
    assert (data.channels, data.image_size) == (facts.channels, facts.image_size)
    assert data.train.y.shape == (2000, 32, 32)
    assert data.train.y.unique().tolist() == list(range(data.num_classes))
    assert data.num_classes == facts.num_classes
    mean, deviation = data.train.x.mean(dim=(0, 2, 3)), data.train.x.std(dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(mean), atol=1e-3, rtol=0)


def test_scenes_are_always_the_same() -> None:
    first, again, other = draw(8, 1), draw(8, 1), draw(8, 2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_the_four_textures_are_about_equally_frequent_and_most_pixels_are_background() -> None:
    _, y = draw(400, 1)
    share = torch.bincount(y.flatten(), minlength=5) / y.numel()
    assert 0.6 < share[0] < 0.9
    assert share[1:].min() > 0.03
    assert share[1:].max() / share[1:].min() < 1.4


def test_a_class_depends_on_the_width_of_its_stripes_and_not_on_colour() -> None:
    x, y = draw(2000, 1)
    means = torch.stack([x.movedim(1, -1)[y == k].mean(0) for k in range(1, 5)])
    assert (means - means.mean(0)).abs().max() < 0.2 * x.std()
    across = (x[:, :, :, 1:] - x[:, :, :, :-1]).square().mean(1)
    within = (y[:, :, 1:] == y[:, :, :-1]).float()
    change = [across[(y[:, :, 1:] == k) & (within > 0)].mean() for k in range(1, 5)]
    assert change == sorted(change)
    assert change[3] > 2 * change[0]
