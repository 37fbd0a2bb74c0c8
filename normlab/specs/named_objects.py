"""Objects that tables name as "module:object" without importing them, such as layers."""

from __future__ import annotations

import importlib
from typing import Any


def named_object(path: str) -> Any:
    """
    Import what *path* names, such as "normlab.norms.batch:BatchNorm".

    `pkgutil.resolve_name` does this from Python 3.9 on.

    Raises:
        ImportError: there is no such module, or it has no such object.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as e:
        raise ImportError(f"{module} has no {name!r}") from e
