"""Files of named arrays: their shapes without reading them whole. Needs no torch."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Tuple

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npz", ".safetensors")
_MOST_HEAD_BYTES = 1 << 24  # of a safetensors file
_NUMPY = {
    "U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool",
    "BF16": "bfloat16",
}  # fmt: skip


class Head(NamedTuple):
    """An array's shape, its dtype by numpy's name, and where its bytes lie, if that is known."""

    shape: Tuple[int, ...]
    dtype: str
    begin: int = 0
    bytes: int = 0


_DAMAGED = (
    zipfile.BadZipFile, KeyError, struct.error, EOFError, UnicodeDecodeError, json.JSONDecodeError,
)  # fmt: skip


def heads(path: Path) -> Dict[str, Head]:
    """
    Return the shape and dtype of each array in the file at *path*.

    Raises:
        ValueError: it is not such a file, or is damaged.
        OSError: it cannot be read.
    """
    try:
        return _of_npz(path) if path.suffix == ".npz" else _of_safetensors(path)
    except _DAMAGED as e:
        raise ValueError(
            f"is damaged, or is not a {path.suffix} file ({e}); write or copy it again"
        ) from e


def array(path: Path, key: str) -> np.ndarray[Any, Any]:
    """Read one array of the file at *path*; numpy refuses arrays of Python objects."""
    import numpy as np

    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as opened:
            found: np.ndarray[Any, Any] = opened[key]
            return found
    head = heads(path)[key]
    with path.open("rb") as file:
        file.seek(head.begin)
        flat = np.fromfile(file, dtype=head.dtype, count=int(math.prod(head.shape)))
    return flat.reshape(head.shape)


def _of_npz(path: Path) -> Dict[str, Head]:
    from numpy.lib import format as npy

    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                version = npy.read_magic(file)
                old = version == (1, 0)
                read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
                shape, _, dtype = read(file)
            found[name[: -len(".npy")] if name.endswith(".npy") else name] = Head(shape, dtype.name)
    return found


def _of_safetensors(path: Path) -> Dict[str, Head]:
    with path.open("rb") as file:
        begins = file.read(8)
        if len(begins) < 8:
            raise EOFError(f"it has {len(begins)} bytes")
        (size,) = struct.unpack("<Q", begins)
        if size > _MOST_HEAD_BYTES:
            raise EOFError(f"a head of {size} bytes is too long")
        head = json.loads(file.read(size))
    if not isinstance(head, dict) or not all(isinstance(one, dict) for one in head.values()):
        raise EOFError("its head does not name arrays")
    head.pop("__metadata__", None)
    found = {}
    for key, one in head.items():
        begin, end = one["data_offsets"]
        place = (8 + size + begin, end - begin)
        found[key] = Head(tuple(one["shape"]), _NUMPY[one["dtype"]], *place)
    return found
