from __future__ import annotations

from pathlib import Path

import pytest
import torch

from normlab.data import load
from normlab.data.drawing import EASY, HARD
from normlab.data.shapes32 import draw
from normlab.errors import NotFound
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

NOWHERE = Path("/nonexistent")


@pytest.mark.parametrize("name", ["digits", "shapes32", "shapes32_hard"])
def test_datasets_without_files_match_the_catalogue(name: str) -> None:
    data, facts = load(DatasetSpec(name=name), NOWHERE), DATASETS[name]
    assert (len(data.train), len(data.test)) == (facts.train_size, facts.test_size)
    assert (data.channels, data.image_size) == (facts.channels, facts.image_size)
    assert data.train.y.unique().tolist() == list(range(data.num_classes))
    assert data.num_classes == facts.num_classes
    mean, deviation = data.train.x.mean(dim=(0, 2, 3)), data.train.x.std(dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(mean), atol=1e-3, rtol=0)
    assert data.test.x.mean().abs() < 0.1


def test_images_are_always_the_same() -> None:
    first, again, other = draw(8, 1, EASY), draw(8, 1, EASY), draw(8, 2, EASY)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_a_job_may_take_only_the_first_samples() -> None:
    whole = load(DatasetSpec(name="digits"), NOWHERE)
    part = load(DatasetSpec(name="digits", train_size=10, test_size=5), NOWHERE)
    assert torch.equal(
        part.train.x, whole.train.x[:10]
    )  # still standardized over the whole dataset
    assert torch.equal(part.test.y, whole.test.y[:5])


def test_the_hard_variant_differs_in_contrast_and_brightness_by_image() -> None:
    easy, hard = draw(400, 1, EASY)[0], draw(400, 1, HARD)[0]
    assert hard.mean(dim=(1, 2, 3)).std() > 2 * easy.mean(dim=(1, 2, 3)).std()
    spread = torch.stack([x.std(dim=(1, 2, 3)).log().std() for x in (easy, hard)])
    assert spread[1] > 1.3 * spread[0]


def test_stripes_of_a_class_have_its_direction() -> None:
    x, y = draw(2000, 1, EASY)
    middle = x[:, :, 12:20, 12:20].mean(1)  # inside almost every shape
    across = (middle[:, :, 1:] - middle[:, :, :-1]).square().mean(dim=(1, 2))
    down = (middle[:, 1:] - middle[:, :-1]).square().mean(dim=(1, 2))
    share = across / (across + down)
    by_texture = torch.stack([share[y % 4 == t].mean() for t in range(4)])
    assert by_texture[0] > by_texture[1] > by_texture[2]  # upright, slanted, level
    assert by_texture[3] == pytest.approx(by_texture[1].item(), abs=0.05)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotFound, match="shapes32"):
        load(DatasetSpec(name="svhn"), NOWHERE)
