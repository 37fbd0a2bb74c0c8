from __future__ import annotations

import torch

from normlab.data import Data, Split
from normlab.data.augmentations.framing import crop, flip
from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.specs.augmentations import Crop, Flip

PLAIN, BOTH = Augmenting(), Augmenting(first=[Crop(pad=2), Flip()])


def numbered(n: int) -> Data:
    x = torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 1, 6, 6).contiguous() + 1
    split = Split(x, torch.arange(n))
    return Data(split, split, n)


def seen(batches: EpochBatches) -> list[int]:
    return [int(y) for i in range(len(batches)) for y in batches[i][1]]


def test_an_epoch_uses_no_sample_twice_and_drops_an_incomplete_update() -> None:
    met = seen(EpochBatches(numbered(50), 8, PLAIN, seed=0, epoch=0))
    assert len(met) == len(set(met)) == 48


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    orders = {
        tuple(seen(EpochBatches(numbered(50), 8, PLAIN, seed, epoch)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_an_update_can_be_made_without_the_earlier_ones() -> None:
    first = EpochBatches(numbered(50), 8, BOTH, seed=3, epoch=7)
    again = EpochBatches(numbered(50), 8, BOTH, seed=3, epoch=7)
    in_turn = [first[i] for i in range(len(first))]
    for i in (4, 1):
        assert torch.equal(again[i][0], in_turn[i][0])
        assert torch.equal(again[i][1], in_turn[i][1])


def test_samples_keep_their_classes() -> None:
    x, y = EpochBatches(numbered(50), 8, PLAIN, seed=0, epoch=0)[2]
    assert torch.equal(x[:, 0, 0, 0], y + 1.0)


def test_augmentation_changes_images_and_not_their_order() -> None:
    plain = EpochBatches(numbered(50), 8, PLAIN, seed=0, epoch=0)
    changed = EpochBatches(numbered(50), 8, BOTH, seed=0, epoch=0)
    assert seen(plain) == seen(changed)
    assert not torch.equal(plain[0][0], changed[0][0])
    assert torch.equal(changed[0][0].amax(dim=(1, 2, 3)), plain[0][0].amax(dim=(1, 2, 3)))


def test_crop_moves_each_image_by_its_own_shift() -> None:
    x = torch.arange(1.0, 10.0).view(1, 1, 3, 3).repeat(2, 1, 1, 1)
    y = crop(x, torch.tensor([[1, 1], [2, 0]]), pad=1)
    assert torch.equal(y[0], x[0])  # the middle of the padded image
    assert y[1, 0].tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]


def test_crop_by_every_shift_is_reachable() -> None:
    many = EpochBatches(numbered(2000), 2000, Augmenting(first=[Crop(pad=2)]), seed=0, epoch=0)
    empty_rows = (many[0][0][:, 0].amax(dim=2) == 0).sum(dim=1)
    assert empty_rows.unique().tolist() == [0, 1, 2]


def test_flip_mirrors_only_the_chosen() -> None:
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    y = flip(x, torch.tensor([True, False]))
    assert y.flatten().tolist() == [2, 1, 3, 4]
