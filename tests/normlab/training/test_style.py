"""Style transfer: what both losses compare, and features that are the same everywhere."""

from __future__ import annotations

import pytest
import torch

from normlab.data.textures32 import scenes, texture
from normlab.training.features import WIDTHS, features, products
from normlab.training.style import CONTENT, STYLE, STYLE_WEIGHT, StyleTask, losses

CONTENTS = scenes(3, seed=5)
WANTED = torch.cat([CONTENTS, texture("checks").expand_as(CONTENTS)], dim=1)


def test_the_picture_itself_has_no_content_loss_and_the_texture_no_style_loss() -> None:
    content, style = losses(CONTENTS, WANTED)
    assert content.tolist() == [0, 0, 0]
    assert style.min() > 0.1
    content, style = losses(WANTED[:, 3:], WANTED)
    assert content.min() > 0.1
    assert style.tolist() == [0, 0, 0]


def test_the_style_loss_ignores_where_things_are() -> None:
    moved = WANTED[:, 3:].roll((8, 8), (2, 3))  # the checks have a period of eight
    content, style = losses(moved.flip(2), WANTED)
    assert style.max() < 0.05 * losses(CONTENTS, WANTED)[1].min()
    assert content.min() > 0.1


def test_products_are_means_over_positions() -> None:
    f = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # (1, 2, 1, 2)
    assert products(f).tolist() == [[[2.5, 0.5], [0.5, 5.0]]]


def test_features_halve_the_side_from_level_to_level() -> None:
    found = features(torch.zeros(2, 3, 32, 32))
    shapes = [tuple(f.shape) for f in found]
    assert shapes == [(2, w, side, side) for w, side in zip(WIDTHS, (32, 16, 8))]


def test_the_filters_are_the_same_on_every_machine_and_version() -> None:
    x = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
    found = [float(f.sum()) for f in features(x)]
    assert found == pytest.approx([277.45569, 107.317345, 31.616755], rel=1e-5)


def test_the_loss_is_the_sum_of_both_and_the_mean_over_pictures() -> None:
    torch.manual_seed(0)
    output = torch.randn(3, 3, 32, 32)
    content, style = losses(output, WANTED)
    torch.testing.assert_close(StyleTask().loss(output, WANTED), (content + style).mean())
    assert CONTENT.value(CONTENT.tally(output, WANTED)) == pytest.approx(float(content.mean()))
    assert STYLE.value(STYLE.tally(output, WANTED)) == pytest.approx(float(style.mean()))


def test_measures_of_batches_are_means_over_all_pictures() -> None:
    torch.manual_seed(0)
    output = torch.randn(3, 3, 32, 32)
    parts = [STYLE.tally(output[:1], WANTED[:1]), STYLE.tally(output[1:], WANTED[1:])]
    whole = STYLE.value(STYLE.tally(output, WANTED))
    assert STYLE.value(STYLE.whole(parts)) == pytest.approx(whole)


def test_style_counts_by_its_weight() -> None:
    torch.manual_seed(0)
    output = torch.randn(1, 3, 32, 32)
    pairs = zip(features(output), features(WANTED[:1, 3:]))
    each = [float((products(f) - products(w)).square().mean()) for f, w in pairs]
    assert float(losses(output, WANTED[:1])[1]) == pytest.approx(STYLE_WEIGHT * sum(each))
