"""Parquet files with pictures: unpacked once, because single samples cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from normlab.errors import DatasetUnusable, StorageFull
from normlab.stored.arrow import arrow_file, bytes_of, columns, labels_of, require_pyarrow
from normlab.stored.data_cache import DataCache
from normlab.stored.table import SampleTable

_ROWS = 64  # samples in memory at once
_FULL = ("No space left", "Disk quota exceeded")


def parquet_file(path: Path, kept: DataCache) -> SampleTable:
    """
    Index the file at *path*, after copying its pictures into a stored Arrow file.

    The pictures in it are encoded already, so the copy has about the file's size.

    Raises:
        DatasetUnusable: it cannot be read, or the copy cannot be written.
        StorageFull: no space is left for the copy.
    """
    stat = path.stat()
    copy = kept.path(f"unpacked-{path.stem}", f"{path}/{stat.st_size}/{stat.st_mtime_ns}", ".arrow")
    if not copy.exists():
        kept.require_folder(f"{path} has to be unpacked once")
        with kept.alone(copy):
            if not copy.exists():
                _unpack(path, copy)
    return arrow_file(copy)


def _unpack(path: Path, copy: Path) -> None:
    pa = require_pyarrow()
    part = copy.with_suffix(f".{os.getpid()}.part")
    schema = pa.schema([("image", pa.large_binary()), ("label", pa.int64())])
    try:
        with pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in _batches(pa, path):
                writer.write_batch(pa.record_batch(batch, schema=schema))
        part.replace(copy)
    except OSError as e:
        if any(said in str(e) for said in _FULL):
            raise StorageFull(f"no space for {copy}: {e}; free some, then retry the job") from e
        raise DatasetUnusable(f"{path}: cannot be read: {e}; fetch it again") from e
    except pa.ArrowInvalid as e:
        raise DatasetUnusable(
            f"{path}: truncated, or not a Parquet file: {e}; fetch it again"
        ) from e
    finally:
        part.unlink(missing_ok=True)


def _batches(pa: Any, path: Path) -> Any:
    with pa.parquet.ParquetFile(path) as opened:
        image, label = columns(path, opened.schema_arrow.names)
        for batch in opened.iter_batches(batch_size=_ROWS, columns=[image, label]):
            pictures = bytes_of(path, batch.column(image)).cast(pa.large_binary())
            yield [pictures, pa.array(labels_of(path, batch.column(label)))]
