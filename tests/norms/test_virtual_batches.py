"""Virtual batches: parts of a batch with statistics of their own."""

from __future__ import annotations

import pytest
import torch

from normlab.norms import make
from tests.norms.family import VIRTUAL, layer_of, run


# Each virtual batch of streaming norm depends on the one before; its own tests cover this.
@pytest.mark.parametrize("kind", [k for k in VIRTUAL if k != "streaming"])
def test_virtual_batches_are_normalized_one_by_one(kind: str) -> None:
    x, g = torch.randn(7, 8, 5, 3), torch.randn(7, 8, 5, 3)
    y, gx = run(layer_of(kind, virtual_batch_size=3), x, g)
    for part in (slice(0, 3), slice(3, 6), slice(6, 7)):
        expected = run(layer_of(kind), x[part], g[part])
        torch.testing.assert_close(y[part], expected[0])
        torch.testing.assert_close(gx[part], expected[1])


@pytest.mark.parametrize("kind", VIRTUAL)
def test_virtual_batches_as_large_as_the_batch_are_the_batch(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    found = run(layer_of(kind, virtual_batch_size=4), x, g)
    for a, b in zip(found, run(layer_of(kind), x, g)):
        torch.testing.assert_close(a, b)


def test_running_statistics_average_over_virtual_batches() -> None:
    x = torch.randn(4, 8, 5, 3)
    layer = make({"kind": "batch", "virtual_batch_size": 2, "momentum": 1.0}, 8)
    layer(x)
    halves = [x[:2].var((0, 2, 3)), x[2:].var((0, 2, 3))]
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, (halves[0] + halves[1]) / 2)
