"""Detection: its loss, the objects of a prediction, and average precision by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from normlab.training.average_precision import MAP, MAP50, average_precision, found_and_true
from normlab.training.detection import EDGE, PRIOR, DetectionTask, detections

CELLS, KINDS = 8, 3
NONE = [-1.0, 0.0, 0.0, 0.0, 0.0]
SURE = 12.0
# of one cell's width or more, with centres in different cells
OBJECTS = torch.tensor(
    [
        [[0.0, 0.05, 0.1, 0.35, 0.4], [2.0, 0.5, 0.5, 0.9, 0.8], NONE],
        [[1.0, 0.3, 0.2, 0.6, 0.7], NONE, NONE],
    ]
)


def prediction_of(y: Tensor, offset: float = 0.0, sure: float = SURE) -> Tensor:
    """Return the output of a net that finds every object of *y*, moved to the right by *offset*."""
    output = torch.zeros(len(y), KINDS + 4, CELLS, CELLS)
    output[:, :KINDS] = -SURE + PRIOR
    at = (torch.arange(CELLS) + 0.5) / CELLS
    for i, rows in enumerate(y):
        for kind, left, top, right, bottom in rows[rows[:, 0] >= 0].tolist():
            row, column = int(CELLS * (top + bottom) / 2), int(CELLS * (left + right) / 2)
            output[i, int(kind), row, column] = sure + PRIOR
            shift = torch.tensor([-offset, 0, offset, 0])
            near = (slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3))
            to_left, to_top = (at - left).view(1, -1), (at - top).view(-1, 1)
            to_right, to_bottom = (right - at).view(1, -1), (bottom - at).view(-1, 1)
            distances = [to_left, to_top, to_right, to_bottom]
            whole = torch.stack([d.expand(CELLS, CELLS) for d in distances])
            whole = (whole + shift.view(4, 1, 1)) / EDGE
            output[(i, slice(KINDS, None), *near)] = whole[(slice(None), *near)]
    return output


def test_a_perfect_prediction_has_next_to_no_loss_and_a_precision_of_one() -> None:
    output = prediction_of(OBJECTS)
    assert DetectionTask().loss(output, OBJECTS) < 1e-3
    rows = found_and_true(output, OBJECTS)
    assert average_precision(rows) == pytest.approx(1)
    assert average_precision(rows, 0.5) == pytest.approx(1)


def test_what_is_found_has_the_class_and_the_box_of_the_object() -> None:
    first = detections(prediction_of(OBJECTS))[0]
    sure = first[first[:, 1] > 0.5]
    assert sorted(sure[:, 0].tolist()) == [0, 2]
    found = sure[sure[:, 0].argsort(), 2:]
    torch.testing.assert_close(found, OBJECTS[0, :2, 1:], atol=1e-5, rtol=0)


def test_boxes_end_at_the_edges_of_the_picture() -> None:
    output = prediction_of(OBJECTS)
    output[:, KINDS:] += 100
    found = detections(output)[:, :, 2:]
    assert found.min() == 0
    assert found.max() == 1


def test_the_loss_at_the_start_is_that_of_a_tenth_everywhere() -> None:
    y = torch.tensor([[[1.0, 0.49, 0.49, 0.51, 0.51]]])  # so small that its bell is in one cell
    p = 0.1
    cells = KINDS * CELLS**2
    centre = (1 - p) ** 2 * -math.log(p) + (cells - 1) * p**2 * -math.log(1 - p)
    # four cells along each axis are near; how far their centres are from both edges, in eighths
    near = (0.3125, 0.4375, 0.5625, 0.6875)
    edges = 2 * sum(abs(a - e) for e in (0.49, 0.51) for a in near) / 4 / EDGE
    found = DetectionTask().loss(torch.zeros(1, KINDS + 4, CELLS, CELLS), y)
    assert float(found) == pytest.approx(centre + edges, rel=1e-4)


def test_empty_rows_and_the_order_of_rows_change_nothing() -> None:
    torch.manual_seed(0)
    output = torch.randn(2, KINDS + 4, CELLS, CELLS)
    other = torch.cat([torch.tensor(NONE).expand(2, 2, 5), OBJECTS.flip(1)], dim=1)
    loss = DetectionTask().loss
    torch.testing.assert_close(loss(output, other), loss(output, OBJECTS))
    assert MAP.value(MAP.tally(output, other)) == MAP.value(MAP.tally(output, OBJECTS))


def test_the_loss_is_the_mean_over_pictures_whatever_the_number_of_objects() -> None:
    torch.manual_seed(0)
    output = torch.randn(2, KINDS + 4, CELLS, CELLS)
    loss = DetectionTask().loss
    each = [loss(output[i : i + 1], OBJECTS[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(output, OBJECTS), torch.stack(each).mean())


def test_a_picture_without_objects_has_a_finite_loss_and_gradient() -> None:
    output = torch.zeros(1, KINDS + 4, CELLS, CELLS, requires_grad=True)
    loss = DetectionTask().loss(output, torch.tensor([[NONE, NONE]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()
    assert (output.grad[:, KINDS:] == 0).all()


def test_a_box_moved_by_a_tenth_of_its_width_is_right_at_eight_of_ten_overlaps() -> None:
    y = torch.tensor([[[0.0, 0.3, 0.3, 0.7, 0.7]]])
    # moved by .04 of .4: an overlap of .9 / 1.1 = .818, so right at .5, .55, ..., .8
    rows = found_and_true(prediction_of(y, offset=0.04), y)
    assert average_precision(rows) == pytest.approx(7 / 10)
    assert average_precision(rows, 0.5) == pytest.approx(1)
    assert average_precision(rows, 0.85) == 0


def row(kind: float, score: float, left: float = 0.1) -> list[float]:
    return [kind, score, left, 0.1, left + 0.3, 0.4]


def test_precision_counts_what_was_found_wrongly_before_and_what_was_missed() -> None:
    # one class, two objects; in the order of probability: wrong, right. At recalls up to .5 the
    # precision is 1 / 2, beyond it 0: 51 of the 101 recalls have .5
    picture = [row(0, 0.9, left=0.6), row(0, 0.8), row(0, 2.0), row(0, 2.0, left=0.35)]
    rows = torch.tensor([picture])
    assert average_precision(rows, 0.9) == pytest.approx(51 / 101 / 2, abs=1e-6)


def test_precision_is_the_mean_over_the_classes_that_occur() -> None:
    # class 0 is found, class 1 is not, class 2 is found where there is none
    rows = torch.tensor([[row(0, 0.9), row(2, 0.7), row(0, 2.0), row(1, 2.0, left=0.5)]])
    assert average_precision(rows) == pytest.approx(0.5)


def test_nothing_found_and_nothing_there_are_a_precision_of_zero() -> None:
    assert average_precision(torch.tensor([[row(0, 0.0), row(1, 2.0)]])) == 0
    assert average_precision(torch.tensor([[row(0, 0.9), row(-1, 2.0)]])) == 0


def test_precision_over_batches_is_that_of_the_whole_and_no_mean_of_theirs() -> None:
    torch.manual_seed(0)
    y = OBJECTS.repeat(3, 1, 1)
    output = prediction_of(y, sure=2.0) + torch.randn(6, KINDS + 4, CELLS, CELLS)
    parts = [MAP50.tally(output[i : i + 2], y[i : i + 2]) for i in (0, 2, 4)]
    whole = MAP50.value(MAP50.tally(output, y))
    assert MAP50.value(MAP50.whole(parts)) == whole
    assert whole != pytest.approx(sum(map(MAP50.value, parts)) / 3, abs=1e-3)
