from __future__ import annotations

import pytest
import torch
from torch import Tensor
from typing_extensions import Literal

from normlab.errors import InvalidSpec
from normlab.norms.sparsestmax import sparsemax, sparsestmax
from tests.norms.golden import Golden


def _relative_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-6), (torch.float32, 1e-5)])
def test_the_reference_variant_matches_the_authors_code(
    k: int, dtype: torch.dtype, tolerance: float
) -> None:
    d = Golden(f"sparsestmax_k{k}", dtype)
    z = d["z"].requires_grad_()
    for name, p in {
        "sparsemax": sparsemax(z),
        "sparsestmax": sparsestmax(z, d["radius"], "reference"),
    }.items():
        (gz,) = torch.autograd.grad(p, z, d["g"])
        assert _relative_error(p, d[f"p_{name}"]) < tolerance
        # near the centre a direction is ill-conditioned: even the rounding of z changes it by more
        assert _relative_error(gz, d[f"gz_{name}"]) < max(tolerance, 1e3 * torch.finfo(dtype).eps)


def _simplex_grid(steps: int) -> Tensor:
    i, j = torch.meshgrid(torch.arange(steps + 1), torch.arange(steps + 1), indexing="ij")
    i, j = i[i + j <= steps], j[i + j <= steps]
    return torch.stack([i, j, steps - i - j], -1).double() / steps


def test_no_allowed_point_is_nearer_than_the_projection() -> None:
    grid = _simplex_grid(400)
    from_centre = (grid - 1 / 3).norm(dim=-1)
    torch.manual_seed(0)
    z = torch.randn(200, 3, dtype=torch.float64)
    for i, radius in enumerate(torch.linspace(0, 0.816, 200).tolist()):
        p = sparsestmax(z[i], radius)
        assert (p - 1 / 3).norm() >= radius - 1e-12
        assert p.sum().item() == pytest.approx(1)
        assert p.min() >= 0
        nearest = (grid[from_centre >= radius] - z[i]).norm(dim=-1).min()
        assert (p - z[i]).norm() <= nearest + 1e-9


def test_the_variants_differ_where_sparsemax_is_sparse() -> None:
    z = torch.tensor([0.6, 0.4, -0.5], dtype=torch.float64)
    torch.testing.assert_close(sparsestmax(z, 0.3), torch.tensor([0.6, 0.4, 0.0]).double())
    reference = sparsestmax(z, 0.3, "reference")
    torch.testing.assert_close(
        reference, torch.tensor([0.7121, 0.2879, 0.0]).double(), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_tied_logits_stay_on_the_simplex_and_lean_to_the_first(variant: str) -> None:
    for k in (2, 3, 5):
        z = torch.ones(k, requires_grad=True)
        p = sparsestmax(z, 0.3, variant)
        assert p.sum().item() == pytest.approx(1)
        assert p.argmax() == 0
        assert (p - 1 / k).norm().item() == pytest.approx(0.3)
        (gz,) = torch.autograd.grad(p[0], z)
        assert torch.isfinite(gz).all()


@pytest.mark.parametrize(
    "z", [[0.2, 0.1, 0.0], [1.0, 1.0, 1.0], [3.0, -1.0, 3.0], [1e20, 0.0, 0.0]]
)
@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_a_radius_past_the_corners_gives_one_hot_ratios(z: list[float], variant: str) -> None:
    p = sparsestmax(torch.tensor(z), 1.0, variant)
    assert sorted(p.tolist()) == [0.0, 0.0, 1.0]
    assert p.argmax() == torch.tensor(z).argmax()


@pytest.mark.parametrize("radius", [0.0, 0.5])
@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_give_nan(
    spoilt: float, variant: Literal["paper", "reference"], radius: float
) -> None:
    z = torch.tensor([[1.0, spoilt, 0.0], [0.6, 0.4, -0.5]])
    p = sparsestmax(z, radius, variant)
    assert bool(p[0].isnan().all())
    assert torch.equal(p[1], sparsestmax(z[1], radius, variant))


def test_gradients_match_finite_differences() -> None:
    z = torch.tensor([0.31, 0.12, -0.05, 0.2], dtype=torch.float64, requires_grad=True)
    for radius in (0.0, 0.3, 0.55, 0.7):
        assert torch.autograd.gradcheck(lambda z, r=radius: sparsestmax(z, r), z)


def test_a_shift_of_all_logits_changes_nothing() -> None:
    torch.manual_seed(1)
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(sparsestmax(z + 5, 0.4), sparsestmax(z, 0.4))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InvalidSpec, match="radius=-1"):
        sparsestmax(torch.ones(3), -1)
    with pytest.raises(InvalidSpec, match="variant='fast'"):
        sparsestmax(torch.ones(3), 0.1, "fast")
