"""Our own augmentations: what they compute, and that each sample has its own random numbers."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from normlab.data import Data, Split
from normlab.data.augmentations import colors
from normlab.data.augmentations.framing import RandomErasing, RandomResizedCrop
from normlab.data.augmentations.mixing import Mixing, cutmix, mixup
from normlab.data.augmentations.policies import RAND, TRIVIAL, apply
from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.data.levels import levels_of
from normlab.specs.augmentations import AUGMENTATIONS, Augmentation
from normlab.training.replicas import rows_of
from tests.normlab.training.recording import small_job

every_augmentation = pytest.mark.parametrize("name", list(AUGMENTATIONS.own))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(n: int = 64, side: int = 12) -> Data:
    r = np.random.RandomState(0)
    x = torch.from_numpy(r.randint(0, 256, (n, 3, side, side)).astype("uint8"))
    mean, scale = torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 1 / 70)
    split = Split(x, torch.arange(n) % 10)
    return Data(split, split, 10, mean, scale)


def augmenting(*specs: Augmentation, micro_batch: int = 8) -> Augmenting:
    return Augmenting(others=specs, micro_batch=micro_batch, levels=levels_of(pictures()))


def of(name: str, **options: Any) -> Augmentation:
    return AUGMENTATIONS[name].model_validate(options)


@every_augmentation
def test_an_update_is_the_same_whoever_makes_it_and_when(name: str) -> None:
    data, augmented = pictures(), augmenting(of(name))
    first = EpochBatches(data, 16, augmented, seed=3, epoch=1)
    in_turn = [first[i] for i in range(len(first))]
    again = EpochBatches(data, 16, augmented, seed=3, epoch=1)
    for i in (3, 0):
        assert torch.equal(again[i][0], in_turn[i][0])
        assert torch.equal(again[i][1], in_turn[i][1])
    other = EpochBatches(data, 16, augmented, seed=3, epoch=2)
    assert not torch.equal(other[0][0], in_turn[0][0])


@every_augmentation
def test_replicas_see_the_samples_that_one_process_sees(name: str) -> None:
    spec = small_job(batch_size=4, gradient_accumulation=2, replicas=2)
    data, augmented = pictures(), augmenting(of(name), micro_batch=4)
    whole = EpochBatches(data, 16, augmented, seed=0, epoch=0)[1]
    for replica in (0, 1):
        rows = rows_of(replica, spec)
        x, y = EpochBatches(data, 16, augmented, seed=0, epoch=0, rows=rows)[1]
        torch.testing.assert_close(x, whole[0][rows])
        torch.testing.assert_close(y, whole[1][rows])


@every_augmentation
def test_neither_the_data_nor_their_order_change(name: str) -> None:
    data = pictures()
    before = data.train.x.clone()
    plain = EpochBatches(data, 16, Augmenting(), seed=0, epoch=0)[0]
    x, y = EpochBatches(data, 16, augmenting(of(name)), seed=0, epoch=0)[0]
    assert torch.equal(data.train.x, before)
    assert (x.shape, x.dtype) == (plain[0].shape, plain[0].dtype)
    if AUGMENTATIONS[name].mixes:
        assert torch.allclose(y.sum(1), torch.ones(16))
    else:
        assert torch.equal(y, plain[1])


def test_each_augmentation_has_numbers_of_its_own() -> None:
    alone = EpochBatches(pictures(), 16, augmenting(of("flip")), seed=0, epoch=0)[0][0]
    twice = EpochBatches(pictures(), 16, augmenting(of("flip"), of("flip")), seed=0, epoch=0)
    both = twice[0][0]
    assert not torch.equal(both, alone)  # else they would all be mirrored back, or none


BYTES = np.random.RandomState(1).randint(0, 256, (16, 16, 3)).astype("uint8")


def by_pillow(change: Callable[[Image.Image], Image.Image]) -> Any:
    return np.asarray(change(Image.fromarray(BYTES)), dtype=np.float64)


@pytest.mark.parametrize(
    ("ours", "amount", "theirs", "off"),
    [
        (colors.brightness, 1.4, lambda im: ImageEnhance.Brightness(im).enhance(1.4), 1),
        (colors.contrast, 0.5, lambda im: ImageEnhance.Contrast(im).enhance(0.5), 1),
        (colors.saturation, 1.5, lambda im: ImageEnhance.Color(im).enhance(1.5), 2),
        (colors.sharpness, 1.7, lambda im: ImageEnhance.Sharpness(im).enhance(1.7), 2),
        (colors.posterize, 3, lambda im: ImageOps.posterize(im, 3), 0),
        (colors.solarize, 100 / 255, lambda im: ImageOps.solarize(im, 100), 0),
        (colors.autocontrast, 0, ImageOps.autocontrast, 1),
        (colors.equalize, 0, ImageOps.equalize, 0),
        (colors.invert, 0, ImageOps.invert, 0),
    ],
)
def test_colors_change_as_in_pillow(ours: Any, amount: float, theirs: Any, off: int) -> None:
    x = torch.from_numpy(BYTES).permute(2, 0, 1)[None].double() / 255
    found = ours(x, torch.tensor([amount], dtype=torch.float64))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - by_pillow(theirs)).max() <= off + 1e-9


def test_a_full_turn_of_the_hue_changes_nothing_and_a_third_exchanges_channels() -> None:
    x = torch.rand(2, 3, 4, 4, generator=generator())
    torch.testing.assert_close(colors.hue(x, torch.tensor([1.0, -1.0])), x)
    third = colors.hue(x, torch.tensor([1 / 3, 1 / 3]))
    torch.testing.assert_close(third, x.roll(1, dims=1))


def test_a_crop_of_the_whole_image_is_the_image_and_half_of_it_is_enlarged() -> None:
    change = RandomResizedCrop(None, 1, 1, 1)
    x = torch.rand(3, 2, 8, 8, generator=generator())
    torch.testing.assert_close(change(x, change.draw(3, generator())), x)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    half = change(ramp, torch.tensor([[0.0, 0.5, 1.0, 0.5]]))  # the right half
    assert half[0, 0, 0].tolist() == pytest.approx([3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7])


def test_crops_have_the_areas_and_ratios_that_were_asked_for() -> None:
    boxes = RandomResizedCrop(None, 0.08, 1, 4 / 3).draw(20_000, generator())
    top, left, tall, wide = boxes.unbind(1)
    assert float((tall * wide).min()) >= 0.08 - 1e-6
    inside = tall * wide < 0.7  # where every ratio fits
    assert float((tall * wide)[inside].mean()) == pytest.approx(0.39, abs=0.01)
    ratio = (wide / tall)[inside].log()
    assert float(ratio.abs().max()) <= np.log(4 / 3) + 1e-5
    assert float(ratio.std()) == pytest.approx(np.log(4 / 3) / 3**0.5, rel=0.03)
    assert float(torch.maximum(top + tall, left + wide).max()) <= 1 + 1e-6


def test_a_crop_may_change_the_side() -> None:
    change = RandomResizedCrop(10, 0.5, 1, 1)
    assert change(torch.zeros(2, 3, 16, 16), change.draw(2, generator())).shape == (2, 3, 10, 10)


def test_erased_rectangles_are_zero_and_of_the_area_that_was_drawn() -> None:
    change = RandomErasing(0.5, 0.1, 0.3, 2)
    drawn = change.draw(4000, generator())
    assert float((drawn[:, 2] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    x = change(torch.ones(4000, 1, 32, 32), drawn)
    erased = (x == 0).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(erased, drawn[:, 2] * drawn[:, 3], atol=0.05, rtol=0)
    assert set(x.unique().tolist()) == {0, 1}


def test_mixup_averages_samples_and_targets_alike() -> None:
    change = mixup(1.0, 1.0)
    x = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1)
    mixed, y = change(x, torch.eye(3), change.draw(3, generator()))
    torch.testing.assert_close(mixed.flatten(), y @ torch.tensor([1.0, 2.0, 4.0]))
    assert (y > 0).sum(1).tolist() == [2, 2, 2]


def test_cutmix_weighs_targets_by_the_pixels_that_are_left() -> None:
    change = cutmix(1.0, 1.0)
    for seed in range(5):
        drawn = change.draw(3, torch.Generator().manual_seed(seed))
        x = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 10, 10)
        mixed, y = change(x, torch.eye(3), drawn)
        torch.testing.assert_close(mixed.mean(dim=(2, 3)), y)


def test_both_kinds_of_mixing_come_in_their_shares() -> None:
    change = Mixing(0.2, 1.0, cutmix_share=0.25, probability=0.5)
    drawn = change.draw(20_000, generator())
    mixes = drawn[:, 0] < 0.5
    assert float(mixes.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(drawn[:, 2].var()) == pytest.approx(0.25 / 1.4, rel=0.05)  # of Beta(.2, .2)
    assert float(drawn[:, 3].var()) == pytest.approx(1 / 12, rel=0.05)


@pytest.mark.parametrize("changes", [RAND, TRIVIAL])
def test_each_change_of_a_policy_is_that_of_its_own_image_alone(changes: Any) -> None:
    n = len(changes)
    x = torch.rand(n, 3, 17, 17, generator=generator())
    drawn = torch.tensor([[i, 0.7, -1.0] for i in range(n)])
    together = apply(changes, x, drawn)
    for i in range(n):
        torch.testing.assert_close(together[i], apply(changes, x[i : i + 1], drawn[i : i + 1])[0])
    unchanged = [i for i in range(n) if torch.equal(together[i], x[i])]
    assert unchanged == ([0] if changes is TRIVIAL else [])
    assert 0 <= float(together.min()) <= float(together.max()) <= 1 + 1e-6


def test_moves_are_of_the_images_side_and_turns_of_degrees() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4) / 16
    right = apply(RAND, x, torch.tensor([[2, 1 / 1.8, -1.0]]))  # a quarter of the side
    torch.testing.assert_close(right[..., 1:], x[..., :-1])
    assert float(right[..., 0].abs().max()) == 0
    half = apply(TRIVIAL, x, torch.tensor([[5, 2 / 3, 1.0]]))  # 90 degrees
    torch.testing.assert_close(half, x.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_samples_become_images_between_black_and_white_and_back() -> None:
    floats = torch.randn(5, 3, 4, 4) * 3 + 7
    mean, deviation = torch.full((1, 3, 1, 1), 7.0), torch.full((1, 3, 1, 1), 3.0)
    split = Split((floats - mean) / deviation, torch.zeros(5))
    for data in (pictures(), Data(split, split, 2, moments=(mean, deviation))):
        x = data.standardize(data.train.x)
        levels = levels_of(data)
        image = levels.image(x)
        assert (float(image.min()), float(image.max())) == pytest.approx((0, 1), abs=1e-5)
        torch.testing.assert_close(levels.standardized(image), x, atol=1e-5, rtol=1e-5)
