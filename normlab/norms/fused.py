"""One switch for all compiled loops of the normalizers; `compiled` says what they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional

from normlab.norms import engine_fused, online_fused


def load_fused_kernels(build_directory: Optional[str] = None) -> None:
    """
    Compile, once a machine, and use the optional C++ loops for layers on a CPU in this process.

    Raises:
        DeviceUnavailable: if there is no compiler; every layer then computes in stock operators.
    """
    engine_fused.load(build_directory)
    online_fused.load(build_directory)


def unload_fused_kernels() -> None:
    """Compute in stock operators again."""
    engine_fused.unload()
    online_fused.unload()


@contextmanager
def fused_kernels(on: bool) -> Iterator[None]:
    """
    Compute in compiled loops, or, not *on*, in stock operators; afterwards as before.

    Raises:
        DeviceUnavailable: if they were asked for and there is no compiler.
    """
    before = engine_fused.is_loaded() or online_fused.is_loaded()
    _switch(on)
    try:
        yield
    finally:
        _switch(before)


def _switch(on: bool) -> None:
    if on:
        load_fused_kernels()
    else:
        unload_fused_kernels()
