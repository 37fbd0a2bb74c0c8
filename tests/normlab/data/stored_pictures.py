"""The same small pictures in every form of file."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")
Sample = Tuple[bytes, int]


def samples(count: int, seed: int, side: int = 12) -> list[Sample]:
    """Return encoded pictures of noise, in the order of their classes."""
    random = np.random.RandomState(seed)
    labels = sorted(i % len(CLASSES) for i in range(count))
    return [(_encoded(random.randint(0, 256, (side, side + 3, 3), np.uint8)), y) for y in labels]


def _encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tree(folder: Path, split: str, given: list[Sample]) -> None:
    for i, (content, label) in enumerate(given):
        path = folder / split / CLASSES[label] / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_tar(folder: Path, split: str, given: list[Sample], shards: int = 2) -> None:
    (folder / split).mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(given)), shards)):
        with tarfile.open(folder / split / f"{number:03d}.tar", "w") as archive:
            for i in part:
                content, label = given[i]
                for suffix, data in (("png", content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def write_arrow(folder: Path, split: str, given: list[Sample]) -> None:
    import pyarrow as pa

    (folder / split).mkdir(parents=True)
    table = _arrow_table(given)
    path = str(folder / split / "data-00000-of-00001.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def write_parquet(folder: Path, split: str, given: list[Sample]) -> None:
    import pyarrow.parquet

    (folder / "data").mkdir(parents=True, exist_ok=True)
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    pyarrow.parquet.write_table(_arrow_table(given), path, row_group_size=10)


def _arrow_table(given: list[Sample]) -> Any:
    import pyarrow as pa

    pictures = [{"bytes": content, "path": None} for content, _ in given]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array([label for _, label in given])
    return pa.table({"image": pa.array(pictures, kind), "label": labels})


WRITERS: Dict[str, Callable[[Path, str, List[Sample]], None]] = {
    "image_folder": write_tree,
    "webdataset": write_tar,
    "huggingface": write_arrow,
    "parquet": write_parquet,
}


def write(root: Path, form: str, train: int = 50, test: int = 20, side: int = 12) -> None:
    """Write *train* and *test* pictures in the folder `pets` below *root*."""
    WRITERS[form](root / "pets", "train", samples(train, 1, side))
    WRITERS[form](root / "pets", "test", samples(test, 2, side))
