"""The engine's passes in Triton kernels on a GPU, on request; `engine` is the definition.

They were checked in Triton's interpreter on a CPU, and the compiler for NVIDIA's GPUs accepts them,
but they have never run on a GPU. No installation needs Triton; torch's builds for CUDA include it.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

from torch import Tensor

from normlab.errors import DeviceUnavailable
from normlab.norms import capture

LEAST_MAJOR = 3
"""The oldest release of Triton that the kernels support."""

_kernels: List[Any] = []  # empty until `load`
_devices: List[str] = []  # the type of device whose tensors they support


def version() -> Optional[str]:
    """Return the version of the installed Triton, or None."""
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return None


def load(device_type: str = "cuda") -> None:
    """
    Use the kernels for the engine's inputs on *device_type* in this process from now on.

    Args:
        device_type: "cuda", or "cpu" in Triton's interpreter (TRITON_INTERPRET=1), for tests.

    Raises:
        DeviceUnavailable: Triton is missing, too old, or in the wrong one of its two modes.
    """
    if _kernels:
        return
    found = version()
    if found is None or int(found.partition(".")[0]) < LEAST_MAJOR:
        raise DeviceUnavailable(
            f"the fused kernels need triton {LEAST_MAJOR} or newer; found "
            f"{found or 'none'}: install torch for CUDA, which includes triton, or leave "
            "acceleration at 'none'"
        )
    kernels = _imported()
    runs_on = "cpu" if kernels.is_interpreted() else "cuda"
    if runs_on != device_type:
        raise DeviceUnavailable(
            f"the fused kernels were asked for on {device_type}, and triton runs them on "
            f"{runs_on}: set TRITON_INTERPRET=1 for its interpreter on a CPU, and leave it unset "
            "for a GPU"
        )
    _kernels.append(kernels)
    _devices.append(device_type)


def is_loaded() -> bool:
    """Return whether this process uses the kernels."""
    return bool(_kernels)


def unload() -> None:
    """Use torch's operators again."""
    _kernels.clear()
    _devices.clear()


@contextmanager
def triton_kernels(on: bool, device_type: str = "cuda") -> Iterator[None]:
    """
    Compute in Triton kernels if *on*, or else in torch's operators; restore the setting afterwards.

    Raises:
        DeviceUnavailable: the kernels were asked for, but cannot be loaded.
    """
    before = list(_devices)
    _switch([device_type] if on else [])
    try:
        yield
    finally:
        _switch(before)


def kernels_for(x: Tensor) -> Any:
    """Return the kernels if they are loaded and support *x*, else None."""
    if not _kernels or x.device.type != _devices[0] or capture.is_on(x):
        return None
    return _kernels[0]


def _switch(devices: List[str]) -> None:
    unload()
    for device_type in devices:
        load(device_type)


def _imported() -> Any:
    try:
        from normlab.norms import triton_kernels as package
    except ImportError as e:
        raise DeviceUnavailable(f"the fused kernels: triton cannot be imported ({e})") from e
    return package
