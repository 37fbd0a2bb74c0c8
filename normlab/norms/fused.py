"""One switch for all compiled loops of the normalizers (see `compiled`)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional

from normlab.norms import engine_fused, online_fused


def load_fused_kernels(build_directory: Optional[str] = None) -> None:
    """
    Compile the optional C++ loops, once per machine, and use them for CPU layers in this process.

    Raises:
        DeviceUnavailable: there is no compiler; every layer then computes in torch's operators.
    """
    engine_fused.load(build_directory)
    online_fused.load(build_directory)


def unload_fused_kernels() -> None:
    """Compute in torch's operators again."""
    engine_fused.unload()
    online_fused.unload()


@contextmanager
def fused_kernels(on: bool) -> Iterator[None]:
    """
    Compute in compiled loops if *on*, or else in torch's operators; restore the setting afterwards.

    Raises:
        DeviceUnavailable: the loops were asked for, but there is no compiler.
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
