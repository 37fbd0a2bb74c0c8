"""Each test runs on the emulation, and on PopTorch itself if it can be imported."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


@pytest.fixture(params=["emulation", pytest.param("poptorch", marks=pytest.mark.poptorch)])
def pop(request: pytest.FixtureRequest) -> Any:
    if request.param == "emulation":
        return importlib.import_module("accelerators.poptorch_emulation")
    try:
        poptorch = importlib.import_module("poptorch")
    except (
        ImportError,
        AssertionError,
    ) as e:  # AssertionError: not the torch version that it was built for
        pytest.skip(f"PopTorch cannot be imported: {e}")
    if not poptorch.ipuHardwareIsAvailable() and os.environ.get("POPTORCH_IPU_MODEL") != "1":
        pytest.skip("PopTorch finds no IPU; POPTORCH_IPU_MODEL=1 runs this on its simulator")
    return poptorch


@pytest.fixture
def replicas(pop: Any) -> Any:
    """Skip where replicas are impossible: the IPU Model has none (popart, performance.rst)."""
    if os.environ.get("POPTORCH_IPU_MODEL") == "1" and pop.__name__ == "poptorch":
        pytest.skip("the IPU Model does not support replication")
    return pop
