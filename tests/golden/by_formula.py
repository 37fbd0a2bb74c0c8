"""Golden vectors of kinds without a reference to run: their formulas in numpy, in float64.

Nothing here is shared with the layers. Gradients are complex steps, Im f(x + ih) / h with
h = 1e-30, which are exact to the last digits: no derivative is written down twice, or once.
`python -m tests.golden.by_formula` writes the files.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

FOLDER = Path(__file__).parent
STEP = 1e-30
TIMES = 2  # inputs, with the same parameters

Arrays = Dict[str, Any]
Shapes = Dict[str, Tuple[Tuple[int, ...], float]]  # of parameters, and what their noise is about
Formula = Callable[[Any, Arrays], Any]


class Case(NamedTuple):
    """A formula of x and the parameters, where it is from, and the shapes of both."""

    formula: Formula
    source: str
    args: Dict[str, Any]  # of the specification
    shape: Tuple[int, ...]
    parameters: Shapes
    scale: float = 1.0  # of x


def rms(x: Any, p: Arrays, share: float = 1.0, groups: int = 1, eps: float = 1e-5) -> Any:
    """Equation 4 of arXiv:1910.07467, over the first channels of each group."""
    n, c = x.shape[:2]
    seen = math.ceil(share * (c // groups))
    parts = x.reshape(n, groups, c // groups, -1)
    squares = (parts[:, :, :seen] ** 2).mean((2, 3), keepdims=True)
    return affine((parts / np.sqrt(squares + eps)).reshape(x.shape), p)


def dynamic_tanh(x: Any, p: Arrays) -> Any:
    """Algorithm 1 of arXiv:2503.10622."""
    return affine(np.tanh(p["alpha"] * x), p)


def filter_response(x: Any, p: Arrays, eps: float = 1e-6) -> Any:
    """Equations 1 to 3 of arXiv:1911.09737; a learned |e| and tau where there are."""
    squares = (x**2).mean(tuple(range(2, x.ndim)), keepdims=True) + eps
    if "learned_eps" in p:
        squares = squares + np.where(p["learned_eps"].real < 0, -1, 1) * p["learned_eps"]
    y = affine(x / np.sqrt(squares), p)
    if "tau" not in p:
        return y
    tau = by_channel(p["tau"], y)
    return np.where(y.real > tau.real, y, tau)


def evonorm_s0(x: Any, p: Arrays, groups: int = 2, eps: float = 1e-5) -> Any:
    """EvoNorm-S0 of arXiv:2004.02967."""
    n, c = x.shape[:2]
    parts = x.reshape(n, groups, -1)
    variance = ((parts - parts.mean(2, keepdims=True)) ** 2).mean(2)
    deviation = np.repeat(np.sqrt(variance + eps), c // groups, axis=1)
    swish = x / (1 + np.exp(-by_channel(p["v"], x) * x))
    return affine(swish / deviation.reshape(n, c, *[1] * (x.ndim - 2)), p)


def standardized(v: Any, p: Arrays, eps: float = 1e-10) -> Any:
    """Weight standardization of arXiv:1903.10520, of filters that the first dimension counts."""
    rows = v.reshape(len(v), -1)
    centred = rows - rows.mean(1, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps)).reshape(v.shape)


def scaled_standardized(v: Any, p: Arrays, gamma: float, eps: float = 1e-4) -> Any:
    """Scaled weight standardization of arXiv:2101.08692, with the gain of its code."""
    rows = v.reshape(len(v), -1)
    centred = rows - rows.mean(1, keepdims=True)
    total = (centred**2).sum(1, keepdims=True)
    total = np.where(total.real > eps, total, eps)
    return (gamma * p["gain"].reshape(-1, 1) * centred / np.sqrt(total)).reshape(v.shape)


def affine(y: Any, p: Arrays) -> Any:
    """Scale and shift each channel."""
    return y * by_channel(p["weight"], y) + by_channel(p["bias"], y)


def by_channel(v: Any, like: Any) -> Any:
    """Return (C,) as (C, 1, ...)."""
    return v.reshape(-1, *[1] * (like.ndim - 2))


_RMS = "Zhang and Sennrich 2019, arXiv:1910.07467, equation 4 and pRMSNorm"
_DYT = "Zhu et al. 2025, arXiv:2503.10622, algorithm 1"
_AFFINE: Shapes = {"weight": ((6,), 1.0), "bias": ((6,), 0.0)}
_FRN = "Singh and Krishnan 2020, arXiv:1911.09737, equations 1 to 3"
_EVO = "Liu et al. 2020, arXiv:2004.02967, EvoNorm-S0"
_PLAIN: Dict[str, Any] = {"kind": "filter_response", "threshold": False}
_LEARNED: Dict[str, Any] = {"kind": "filter_response", "learned_eps": True}
_WS = "Qiao et al. 2019, arXiv:1903.10520"
_SWS = "Brock, De and Smith 2021, arXiv:2101.08692"
_RELU_GAMMA = (2 / (1 - 1 / math.pi)) ** 0.5
_SCALED: Dict[str, Any] = {"kind": "scaled_weight_standardized"}
_GAIN: Shapes = {"gain": ((4, 1, 1, 1), 1.0)}
_TAU: Shapes = {**_AFFINE, "tau": ((6,), 0.0)}
_E: Shapes = {"learned_eps": ((1,), 0.1)}
_V: Shapes = {**_AFFINE, "v": ((6,), 1.0)}
_SLOPED: Shapes = {**_AFFINE, "alpha": ((1,), 0.5)}

CASES: Dict[str, Case] = {
    "rms_2d": Case(rms, _RMS, {"kind": "rms"}, (2, 6, 4, 3), _AFFINE),
    "rms_vectors": Case(rms, _RMS, {"kind": "rms"}, (3, 6), _AFFINE),
    "rms_partial": Case(
        lambda x, p: rms(x, p, 0.4, 2),
        _RMS,
        {"kind": "rms", "p": 0.4, "groups": 2},
        (2, 6, 4, 3),
        _AFFINE,
    ),
    "dyt_2d": Case(dynamic_tanh, _DYT, {"kind": "dyt"}, (2, 6, 4, 3), _SLOPED, 3.0),
    "dyt_vectors": Case(dynamic_tanh, _DYT, {"kind": "dyt"}, (3, 6), _SLOPED, 3.0),
    "frn_2d": Case(filter_response, _FRN, _PLAIN, (2, 6, 4, 3), _AFFINE),
    "frn_tlu_2d": Case(filter_response, _FRN, {"kind": "filter_response"}, (2, 6, 4, 3), _TAU),
    "frn_tlu_learned": Case(filter_response, _FRN, _LEARNED, (3, 6, 1, 1), {**_TAU, **_E}),
    "ws_filters": Case(standardized, _WS, {"kind": "weight_standardized"}, (4, 3, 3, 2), {}),
    "scaled_ws_filters": Case(
        lambda v, p: scaled_standardized(v, p, _RELU_GAMMA), _SWS, _SCALED, (4, 3, 3, 2), _GAIN
    ),
    "scaled_ws_small": Case(  # some filters are below the least variance
        lambda v, p: scaled_standardized(v, p, 1.0),
        _SWS,
        {**_SCALED, "nonlinearity": "none"},
        (4, 3, 3, 2),
        _GAIN,
        2.4e-3,
    ),
    "evonorm_s0_2d": Case(evonorm_s0, _EVO, {"kind": "evonorm_s0", "groups": 2}, (2, 6, 4, 3), _V),
    "evonorm_s0_vectors": Case(
        evonorm_s0, _EVO, {"kind": "evonorm_s0", "groups": 2}, (3, 6), _V, 2.0
    ),
}


def vectors(name: str) -> Arrays:
    """Compute one file's arrays."""
    case = CASES[name]
    rng = np.random.default_rng(sum(name.encode()))
    p = {k: v + 0.5 * rng.standard_normal(shape) for k, (shape, v) in case.parameters.items()}
    x = case.scale * (rng.standard_normal((TIMES, *case.shape)) + 0.3)
    gy = rng.standard_normal(x.shape)
    found: Arrays = {"x": x, "gy": gy, **p, "meta": json.dumps(_meta(case))}
    found["y"] = np.stack([case.formula(each, p) for each in x])
    found["gx"] = np.stack(
        [_slope(lambda t: case.formula(t, p), each, g) for each, g in zip(x, gy)]
    )
    for k in p:
        slopes = [_of_parameter(case.formula, each, g, p, k) for each, g in zip(x, gy)]
        found[f"g_{k}"] = np.stack(slopes)
    return found


def _of_parameter(formula: Formula, x: Any, gy: Any, p: Arrays, name: str) -> Any:
    return _slope(lambda t: formula(x, {**p, name: t}), p[name], gy)


def _slope(function: Callable[[Any], Any], at: Any, gy: Any) -> Any:
    """Return the gradient of sum(gy * function) there, an entry at a time."""
    slope = np.empty(at.shape)
    for index in np.ndindex(*at.shape):
        moved = at.astype(complex)
        moved[index] += 1j * STEP
        slope[index] = (gy * function(moved).imag).sum() / STEP
    return slope


def _meta(case: Case) -> Dict[str, Any]:
    return {"source": case.source, "args": case.args, "dtype": "float64", "by": "by_formula.py"}


def main() -> None:
    """Write every file."""
    for name in CASES:
        np.savez_compressed(FOLDER / f"{name}.npz", **vectors(name))


if __name__ == "__main__":
    main()
