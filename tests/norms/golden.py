"""Numbers that the references computed, and how an answer is compared with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


class Golden:
    """One file of golden vectors, as tensors of one dtype."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float64) -> None:
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arguments: Dict[str, Any] = json.loads(str(arrays["meta"]))
            self._arrays = {k: torch.from_numpy(arrays[k]) for k in arrays.files if k != "meta"}
        self._dtype = dtype

    def __getitem__(self, name: str) -> Tensor:
        array = self._arrays[name]
        return array.to(self._dtype) if array.is_floating_point() else array

    def __contains__(self, name: str) -> bool:
        return name in self._arrays


def assert_same(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Compare by the largest difference over the largest expected magnitude (noise aside)."""
    actual, expected = actual.detach().reshape(expected.shape).double(), expected.double()
    error = (actual - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:g}"
