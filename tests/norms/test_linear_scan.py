from __future__ import annotations

import pytest
import torch
from torch import Tensor

from normlab.norms.linear_scan import scan_constant, scan_varying

lengths = pytest.mark.parametrize("n", [1, 2, 24, 25, 31, 32, 33, 64, 127, 300])


def _loop(state: Tensor, factors: Tensor, inputs: Tensor) -> Tensor:
    states = [state]
    for f, i in zip(factors, inputs):
        states.append(f * states[-1] + i)
    return torch.stack(states)


def _draw(n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n)
    state, factors, inputs = (torch.randn(s, dtype=dtype) for s in [(5,), (n, 5), (n, 5)])
    return state, factors, inputs


@lengths
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_a_constant_decay_equals_the_loop(n: int, decay: float) -> None:
    state, _, inputs = _draw(n)
    expected = _loop(state, torch.full_like(inputs, decay), 0.25 * inputs)
    torch.testing.assert_close(
        scan_constant(state, inputs, decay, 0.25), expected, rtol=0, atol=1e-13
    )


@lengths
def test_varying_factors_equal_the_loop(n: int) -> None:
    state, factors, inputs = _draw(n)
    expected = _loop(state, factors, inputs)
    torch.testing.assert_close(
        scan_varying(state, factors, inputs), expected, rtol=0, atol=1e-13 * expected.abs().max()
    )


@lengths
def test_zero_and_negative_factors_are_exact(n: int) -> None:
    state, factors, inputs = _draw(n)
    factors = factors.clamp(-0.9, 0.9)
    factors[::3] = 0
    torch.testing.assert_close(
        scan_varying(state, factors, inputs),
        _loop(state, factors, inputs),
        rtol=0,
        atol=1e-13,
    )


def test_float32_keeps_its_precision_over_a_long_scan() -> None:
    state, _, inputs = _draw(5000, torch.float32)
    exact = scan_constant(state.double(), inputs.double(), 0.999, 0.001)
    states = scan_constant(state, inputs, 0.999, 0.001)
    torch.testing.assert_close(states.double(), exact, rtol=0, atol=1e-6)


@lengths
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_value_does_not_affect_earlier_states(n: int, bad: float) -> None:
    state, _, inputs = _draw(n)
    expected = scan_constant(state, inputs, 0.9)
    inputs[n // 2] = bad
    states = scan_constant(state, inputs, 0.9)
    torch.testing.assert_close(states[: n // 2 + 1], expected[: n // 2 + 1])
    assert not torch.isfinite(states[n // 2 + 1 :]).any()
