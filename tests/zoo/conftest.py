from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def libraries() -> None:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed here; `make test-zoo` runs this where it is")
