import pytest
import torch

from normlab.norms.sparsestmax import sparsestmax
from normlab.norms.sparsestmax_numbers import project


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_plain_numbers_follow_the_definition(k: int, variant: str) -> None:
    torch.manual_seed(k)
    for radius in (0.0, 0.2, 0.45, 0.6, 0.75, 0.9):
        for _ in range(8):
            z = torch.randn(k, dtype=torch.float64)
            expected = sparsestmax(z, radius, variant)
            jacobian = torch.autograd.functional.jacobian(
                lambda z, r=radius: sparsestmax(z, r, variant), z
            )
            found = [torch.tensor(part).double() for part in project(z.tolist(), radius, variant)]
            torch.testing.assert_close(found[0], expected)
            torch.testing.assert_close(found[1], jacobian, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("radius", [0.3, 0.9])
def test_tied_logits_go_to_the_first(radius: float) -> None:
    p, jacobian = project([1.0, 1.0, 1.0], radius, "paper")
    expected = sparsestmax(torch.ones(3, dtype=torch.float64), radius)
    torch.testing.assert_close(torch.tensor(p).double(), expected)
    assert jacobian == [[0.0] * 3] * 3


def test_logits_that_are_not_finite_give_nan() -> None:
    p, _ = project([1.0, float("nan"), 0.0], 0.3, "paper")
    assert all(value != value for value in p)
