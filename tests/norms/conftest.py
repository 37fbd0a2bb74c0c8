"""New tensors and layers are on the device of this run."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from tests.where import DEVICE


@pytest.fixture(autouse=DEVICE != "cpu")
def default_device() -> Iterator[None]:
    """Put new tensors and layers on the device."""
    torch.set_default_device(DEVICE)
    yield
    torch.set_default_device(None)
