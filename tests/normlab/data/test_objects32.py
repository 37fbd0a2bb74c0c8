from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import normlab
from normlab.data import boxes, load
from normlab.data.objects32 import MOST, draw
from normlab.errors import DatasetUnusable
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

NOWHERE = Path("/nonexistent")


def test_objects_match_the_catalogue() -> None:
    data, facts = load(DatasetSpec(name="objects32"), NOWHERE), DATASETS["objects32"]
    assert (len(data.train), len(data.test)) == (facts.train_size, facts.test_size)
    assert (data.channels, data.image_size) == (facts.channels, facts.image_size)
    assert data.num_classes == facts.num_classes
    assert data.train.y.shape == (2000, MOST, 5)
    boxes.check("objects32: train", data.train.y, data.num_classes)
    assert data.train.x.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_objects_are_always_the_same() -> None:
    first, again, other = draw(8, 1), draw(8, 1), draw(8, 2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_pictures_have_one_to_four_objects_in_the_first_rows() -> None:
    _, y = draw(400, 1)
    there = y[:, :, 0] >= 0
    counts = torch.bincount(there.sum(1), minlength=MOST + 1)
    assert counts[0] == 0
    assert (counts[1:] > 0).all()
    assert torch.equal(there, there.sum(1, keepdim=True) > torch.arange(MOST))
    assert (y[~there] == torch.tensor([-1.0, 0, 0, 0, 0])).all()


def test_each_class_is_as_frequent_as_the_others() -> None:
    _, y = draw(800, 1)
    share = torch.bincount(y[:, :, 0][y[:, :, 0] >= 0].long(), minlength=4)
    assert share.max() / share.min() < 1.3


def test_objects_lie_apart() -> None:
    _, y = draw(400, 1)
    here = [(row[row[:, 0] >= 0]) for row in y]
    for rows in here:
        low = torch.maximum(rows[:, None, 1:3], rows[None, :, 1:3])
        high = torch.minimum(rows[:, None, 3:], rows[None, :, 3:])
        shared = (high - low).clamp(min=0).prod(2).fill_diagonal_(0)
        smallest = (rows[:, 3:] - rows[:, 1:3]).prod(1).min()
        assert shared.max() < 0.1 * smallest


def test_a_box_holds_what_was_painted_and_no_more() -> None:
    x, y = draw(300, 1)
    inside, outside = torch.zeros(300, 32, 32), torch.zeros(300, 32, 32)
    at = (torch.arange(32) + 0.5) / 32
    for row in y.unbind(1):
        kind, left, top, right, bottom = (v.view(-1, 1, 1) for v in row.unbind(1))
        columns, rows = at.view(1, 1, -1), at.view(1, -1, 1)
        within = (columns > left) & (columns < right) & (rows > top) & (rows < bottom)
        inside += (within & (kind >= 0)).float()
    outside = 1 - inside.clamp(max=1)
    change = (x[:, :, :, 1:] - x[:, :, :, :-1]).square().mean(1)
    strong = [(change * part[:, :, 1:]).sum() / part[:, :, 1:].sum() for part in (inside, outside)]
    assert strong[0] > 2 * strong[1]


ROW = [1.0, 0.25, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    "wrong",
    [
        [4, 0.1, 0.1, 0.5, 0.5],
        [-2, 0.1, 0.1, 0.5, 0.5],
        [0.5, 0.1, 0.1, 0.5, 0.5],
        [1, 0.5, 0.1, 0.5, 0.5],
        [1, 0.1, 0.6, 0.5, 0.5],
        [1, -0.1, 0.1, 0.5, 0.5],
        [1, 0.1, 0.1, 1.5, 0.5],
        [1, 3, 3, 12, 9],
        [1, 0.1, float("nan"), 0.5, 0.5],
    ],
)
def test_a_row_that_is_no_object_is_named_with_its_sample(wrong: list[float]) -> None:
    y = torch.tensor([[ROW, [-1, 0, 0, 0, 0]], [ROW, wrong]])
    with pytest.raises(DatasetUnusable, match=r"mine: test sample 1 has the row \[.*0 to 3 and 0"):
        boxes.check("mine: test", y, 4)


def test_pictures_without_any_object_are_refused() -> None:
    with pytest.raises(DatasetUnusable, match="no object in any picture"):
        boxes.check("mine: test", torch.tensor([[[-1.0, 0, 0, 0, 0]]]), 4)


@pytest.mark.usefixtures("no_plugins")
@pytest.mark.parametrize(
    ("second", "says"),
    [
        (torch.tensor([ROW]), r"sample 1 has y of shape \(1, 5\); detection has \(2, 5\) here"),
        (torch.tensor([ROW, [9.0, *ROW[1:]]]), r"sample 1 has the row \[9.0, .*0 to 1"),
        (torch.zeros(2, 4), r"sample 1 has y of shape \(2, 4\)"),
        (torch.tensor([ROW, ROW]), None),
    ],
)
def test_a_dataset_of_ones_own_has_rows_of_any_number_the_same_in_each_picture(
    second: Tensor, says: str | None
) -> None:
    rows = torch.tensor([ROW, [-1.0, 0, 0, 0, 0]])

    @normlab.dataset("mine", num_classes=2, channels=1, image_size=8, task="detection")
    def mine(split: str) -> Any:
        return [(torch.zeros(1, 8, 8), rows), (torch.ones(1, 8, 8), second)]

    if says is None:
        assert load(DatasetSpec(name="mine"), NOWHERE).train.y.shape == (2, 2, 5)
    else:
        with pytest.raises(DatasetUnusable, match=says):
            load(DatasetSpec(name="mine"), NOWHERE)
