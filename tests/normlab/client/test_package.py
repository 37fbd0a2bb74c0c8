"""`import normlab` offers the client without loading it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import normlab


def test_the_client_can_be_imported_from_the_package() -> None:
    assert normlab.Client.__name__ == "Client"


def test_importing_the_package_loads_neither_client_nor_torch() -> None:
    code = "import sys, normlab; print(sorted({'httpx', 'torch', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_package_is_named() -> None:
    with pytest.raises(AttributeError, match="Cleint"):
        _ = normlab.Cleint
