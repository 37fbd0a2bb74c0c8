"""Compiled passes for a test: skipped without a compiler, but not if the compiler fails."""

from __future__ import annotations

from typing import Callable

import pytest

from normlab.errors import DeviceUnavailable


def load_or_skip(load: Callable[[], None]) -> None:
    """Call *load*."""
    try:
        load()
    except DeviceUnavailable as e:
        if "C++ compiler and ninja on PATH" not in str(e):
            raise
        pytest.skip(str(e))
