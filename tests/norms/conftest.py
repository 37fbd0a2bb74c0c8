"""Layers on the device of this run, and in each form in which they compute."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from normlab.errors import DeviceUnavailable
from normlab.norms import engine_fused, fused_kernels
from tests.norms.compiling import load_or_skip
from tests.where import DEVICE


@pytest.fixture(autouse=DEVICE != "cpu")
def default_device() -> Iterator[None]:
    """Put new tensors and layers on the device."""
    torch.set_default_device(DEVICE)
    yield
    torch.set_default_device(None)


@pytest.fixture
def fused() -> Iterator[None]:
    """The compiled loops of the engine."""
    load_or_skip(engine_fused.load)
    yield
    engine_fused.unload()


@pytest.fixture(params=["stock", "plain", "compiled"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each form in which layers compute."""
    try:
        with fused_kernels(request.param == "compiled"):
            yield request.param
    except DeviceUnavailable as e:
        pytest.skip(str(e))
