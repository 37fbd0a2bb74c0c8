"""The records of arrays in a file: the place of each sample's bytes, without reading the array."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Tuple

from normlab.errors import DatasetUnusable
from normlab.specs.array_files import heads

if TYPE_CHECKING:
    import numpy as np

_LOCAL_HEAD = struct.Struct("<26xHH")  # of a zip member: the lengths of the next fields


@dataclass(frozen=True)
class Records:
    """
    An array (N, ...) in a file.

    Args:
        begin: its first byte.
        shape: the shape of one sample.
    """

    path: Path
    begin: int
    count: int
    shape: Tuple[int, ...]
    dtype: str

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> np.ndarray[Any, Any]:
        """Return sample *i*."""
        import numpy as np

        one = np.dtype(self.dtype)
        size = one.itemsize * int(np.prod(self.shape, dtype=np.int64))
        with open(self.path, "rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, self.begin + i * size)
        if len(content) < size:
            raise DatasetUnusable(f"{self.path}: ends early, within sample {i}")
        return np.frombuffer(content, one).reshape(self.shape)


def why_not(path: Path) -> str:
    """Return why samples of the file at *path* cannot be read one by one; "" if they can."""
    if path.suffix != ".npz":
        return ""
    with zipfile.ZipFile(path) as archive:
        packed = [i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
    return f"{', '.join(packed)} in it are compressed; write it with numpy.savez" if packed else ""


def records(path: Path, key: str) -> Records:
    """
    Return the places of the samples of the array *key*.

    Raises:
        DatasetUnusable: the array is compressed, or not in C order.
    """
    if path.suffix != ".npz":
        head = heads(path)[key]
        return Records(path, head.begin, head.shape[0], head.shape[1:], head.dtype)
    why = why_not(path)
    if why:
        raise DatasetUnusable(f"{path} cannot be streamed: {why}, or use loading.mode 'memory'")
    return _of_npz(path, key)


def _of_npz(path: Path, key: str) -> Records:
    from numpy.lib import format as npy

    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(f"{key}.npy").header_offset
    with path.open("rb") as file:
        file.seek(at)
        lengths = _LOCAL_HEAD.unpack(file.read(_LOCAL_HEAD.size))
        file.seek(sum(lengths), os.SEEK_CUR)
        old = npy.read_magic(file) == (1, 0)
        read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        begin = file.tell()
    if is_fortran and len(shape) > 1:
        raise DatasetUnusable(
            f"{path} cannot be streamed: {key} is stored in Fortran's order; write it with "
            "numpy.ascontiguousarray, or use loading.mode 'memory'"
        )
    return Records(path, begin, shape[0], shape[1:], dtype.str)
