"""The table of an Arrow file with pictures, as Hugging Face's `save_to_disk` writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Sequence, Tuple

from normlab.errors import DatasetUnusable
from normlab.stored.table import SampleTable, table_of

if TYPE_CHECKING:
    from normlab.stored.table import Integers

IMAGES = ("image", "img", "jpg", "jpeg", "png", "picture")
LABELS = ("label", "labels", "fine_label", "cls", "class")
_END = b"\xff\xff\xff\xff\0\0\0\0"  # the last bytes of a stream of record batches


def require_pyarrow() -> Any:
    """
    Return pyarrow.

    Raises:
        DatasetUnusable: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as e:
        raise DatasetUnusable(
            "Parquet and Arrow files need pyarrow, which is not installed where jobs run; "
            "pip install 'normlab[data]' there"
        ) from e
    return pyarrow


def arrow_file(path: Path) -> SampleTable:
    """
    Index the file at *path*, so that the pictures' bytes can be read directly from it.

    For a file that ends early, the table has the samples of its complete batches, and a loss.

    Raises:
        DatasetUnusable: it is not such a file, or it has other columns.
    """
    pa = require_pyarrow()
    rows: List[Integers] = []
    try:
        with pa.memory_map(str(path)) as opened:
            whole = opened.read_buffer()
            for batch in pa.ipc.open_stream(whole):
                rows.append(_rows(path, whole, batch))
        ends = None if _last_bytes(path, len(_END)) == _END else "its end mark is missing"
    except (OSError, pa.ArrowInvalid) as e:
        if not rows:
            raise DatasetUnusable(f"{path}: expected a stream of Arrow batches, but {e}") from e
        ends = str(e)
    samples = sum(len(part) for part in rows)
    losses = [] if ends is None else [f"{path}: ends early, after {samples} whole samples: {ends}"]
    return table_of(path.parent, [path], _together(rows), losses)


def columns(path: Path, names: Sequence[str]) -> Tuple[str, str]:
    """
    Choose the column of the pictures and the column of the classes.

    Raises:
        DatasetUnusable: there is none with a usual name.
    """
    image = next((name for name in IMAGES if name in names), None)
    label = next((name for name in LABELS if name in names), None)
    if image is None or label is None:
        raise DatasetUnusable(
            f"{path}: has the columns {', '.join(names)}; expected a picture in one of "
            f"{', '.join(IMAGES)}, and a class number in one of {', '.join(LABELS)}"
        )
    return image, label


def bytes_of(path: Path, column: Any) -> Any:
    """Return the array of a column's encoded pictures, which may be a field of a struct."""
    import pyarrow as pa

    found = column.field("bytes") if pa.types.is_struct(column.type) else column
    if not (pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)):
        raise DatasetUnusable(f"{path}: has pictures of {found.type}; expected encoded bytes")
    if found.null_count:
        raise DatasetUnusable(
            f"{path}: {found.null_count} pictures are only names of files; save them with their "
            "bytes (`embed_external_files`)"
        )
    return found


def labels_of(path: Path, column: Any) -> Any:
    """Return a column's class numbers as an array of int64."""
    import numpy as np

    try:
        return column.to_numpy(zero_copy_only=False).astype(np.int64, casting="safe")
    except (TypeError, ValueError) as e:
        raise DatasetUnusable(f"{path}: has classes of {column.type}; expected integers") from e


def _rows(path: Path, whole: Any, batch: Any) -> Integers:
    import numpy as np
    import pyarrow as pa

    image, label = columns(path, batch.schema.names)
    pictures = bytes_of(path, batch.column(image))
    _, ends, data = pictures.buffers()
    wide = pa.types.is_large_binary(pictures.type)
    offsets = np.frombuffer(ends, np.int64 if wide else np.int32).astype(np.int64)
    offsets = offsets[pictures.offset : pictures.offset + len(pictures) + 1]
    begin = data.address - whole.address
    if not 0 <= begin < whole.size:
        raise DatasetUnusable(f"{path}: its batches are compressed; write them without compression")
    labels = labels_of(path, batch.column(label))
    return np.stack([np.zeros_like(labels), begin + offsets[:-1], np.diff(offsets), labels], axis=1)


def _together(rows: List[Integers]) -> Any:
    import numpy as np

    return np.concatenate(rows) if rows else []


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(count, path.stat().st_size), os.SEEK_END)
        return file.read()
