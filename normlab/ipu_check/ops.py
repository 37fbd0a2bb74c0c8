"""PopTorch's list of operators, and the names under which torch's dispatcher shows them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import FrozenSet

# In-place operators are matched without their underscore, except where only that form is listed.
_IN_PLACE_ONLY = {"copy_", "normal_", "uniform_", "random_", "exponential_"}

# Names of operators in the dispatcher, and their names in PopTorch or in an older torch.
_SAME_AS = {
    "zero_": "zeros_like",
    "fill_": "full_like",
    "fill": "full_like",
    "_native_batch_norm_legit": "native_batch_norm",
    "_native_batch_norm_legit_functional": "native_batch_norm",
    "_batch_norm_with_update": "native_batch_norm",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
}

# Handled by PopTorch's dispatcher itself, or decomposed before PopTorch reads its list.
_HANDLED = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "alias",
    "_to_copy",
    "lift_fresh",
    "bernoulli_",
    "scalar_tensor",
}


@lru_cache(maxsize=None)
def listed() -> FrozenSet[str]:
    """Return the names in PopTorch's list, such as `aten::add`."""
    lines = Path(__file__).with_name("supported_ops.txt").read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def is_supported(name: str) -> bool:
    """Return whether PopTorch supports the operator that the dispatcher calls *name*."""
    space, _, op = name.partition("::")
    if space != "aten":
        return name in listed()
    op = _SAME_AS.get(op, op)
    if op in _HANDLED:
        return True
    if op.endswith("_") and not op.startswith("__") and op not in _IN_PLACE_ONLY:
        op = op[:-1]
    return f"aten::{op}" in listed()
