"""Numbers from the reference implementations, and the comparison with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


class Golden(Dict[str, Tensor]):
    """One file of golden vectors: tensors by name, of one dtype, on the device of the layers."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float64) -> None:
        like = torch.empty(0, dtype=dtype)  # on the default device, like new layers
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arguments: Dict[str, Any] = json.loads(str(arrays["meta"]))
            super().__init__({k: _as(like, arrays[k]) for k in arrays.files if k != "meta"})


def _as(like: Tensor, array: Any) -> Tensor:
    tensor = torch.from_numpy(array).to(like.device)
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor


def assert_same(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Compare by the largest difference over the largest expected magnitude (ignoring noise)."""
    actual, expected = actual.detach().reshape(expected.shape).double(), expected.double()
    error = (actual - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:g}"
