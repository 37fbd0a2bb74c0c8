"""The places of the samples of a split: a file, an offset and a length each, as arrays."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, List, Sequence, Tuple

from normlab.errors import DatasetUnusable

if TYPE_CHECKING:
    import numpy as np

    Integers = np.ndarray[Any, np.dtype[np.int64]]


class Names:
    """
    Many names in one string of bytes.

    A list would have one object per name, and each process that reads it would change their
    reference counts, so forks would soon have copies of all names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        import numpy as np

        encoded = [os.fsencode(name) for name in names]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: int) -> str:
        begin = int(self._ends[i - 1]) if i else 0
        return os.fsdecode(self._bytes[begin : int(self._ends[i])])

    def digest(self) -> bytes:
        """Hash all names."""
        return hashlib.sha256(self._ends.tobytes() + self._bytes).digest()


@dataclass(frozen=True)
class SampleTable:
    """
    The samples of one split, in their order.

    Args:
        root: the folder of the files.
        files: their names below *root*.
        stamps: (F,), nanoseconds of each file's last change.
        file: (N,), the number of the file of each sample.
        offset, size: (N,), bytes: where the encoded sample begins, and its length.
        labels: (N,), its class.
        losses: a message for each part that is known to be missing, such as the end of a shard.
    """

    root: Path
    files: Names
    stamps: Integers
    file: Integers
    offset: Integers
    size: Integers
    labels: Integers
    losses: Tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """Return the name of sample *i*: its file, and its position in the file."""
        name, offset = self.files[int(self.file[i])], int(self.offset[i])
        return f"{name} at byte {offset}" if offset else name

    def read(self, i: int) -> bytes:
        """
        Read the bytes of sample *i*.

        Raises:
            DatasetUnusable: the file cannot be read, or ends early.
        """
        path, size = self.root / self.files[int(self.file[i])], int(self.size[i])
        try:
            with open(path, "rb", buffering=0) as opened:
                content = os.pread(opened.fileno(), size, int(self.offset[i]))
        except OSError as e:
            raise DatasetUnusable(f"{path}: cannot be read: {e.strerror or e}") from e
        if len(content) < size:
            raise DatasetUnusable(
                f"{path}: ends early: {size} bytes were expected at byte {int(self.offset[i])}, "
                f"found {len(content)}"
            )
        return content

    def kept(self, which: Integers) -> SampleTable:
        """Return the table with only the samples *which*."""
        columns = (self.file[which], self.offset[which], self.size[which], self.labels[which])
        return SampleTable(self.root, self.files, self.stamps, *columns, self.losses)

    def digest(self) -> str:
        """Hash the place of every sample and the last change of its file, in 64 hex digits."""
        whole = hashlib.sha256(self.files.digest())
        for column in (self.stamps, self.file, self.offset, self.size, self.labels):
            whole.update(column.tobytes())
        return whole.hexdigest()


def table_of(
    root: Path,
    paths: Sequence[Path],
    rows: Any,
    losses: Sequence[str] = (),
) -> SampleTable:
    """
    Return the table of *rows* (N, 4): a file's number, offset, size and class for each sample.

    Args:
        root: the folder above all of *paths*.
    """
    import numpy as np

    file, offset, size, labels = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    names = Names([os.path.relpath(path, root) for path in paths])
    return SampleTable(root, names, stamps_of(paths), file, offset, size, labels, tuple(losses))


def stamps_of(paths: Iterable[Path]) -> Integers:
    """Return when each file was last changed, in nanoseconds."""
    import numpy as np

    return np.array([path.stat().st_mtime_ns for path in paths], dtype=np.int64)


def joined(root: Path, parts: List[SampleTable]) -> SampleTable:
    """Return one table of the samples of all *parts*, which have one file each."""
    import numpy as np

    names = Names([os.path.relpath(part.root / part.files[0], root) for part in parts])
    stamps = np.concatenate([part.stamps for part in parts])
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    offset = np.concatenate([part.offset for part in parts])
    size = np.concatenate([part.size for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    losses = tuple(loss for part in parts for loss in part.losses)
    return SampleTable(root, names, stamps, numbers, offset, size, labels, losses)
