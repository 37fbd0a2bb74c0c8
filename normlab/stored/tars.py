"""The table of a WebDataset shard: a tar file of NAME.jpg (or another picture) and NAME.cls."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

from normlab.errors import DatasetUnusable
from normlab.specs.picture_trees import SUFFIXES
from normlab.stored.table import SampleTable, table_of

Row = Tuple[int, int, int, int]
_BLOCK = 512  # bytes; a tar file ends with two such blocks of zeros


def shard(path: Path) -> SampleTable:
    """
    Index the shard at *path* by one pass over its headers.

    For a shard that ends early, the table has the complete samples, and a loss.

    Raises:
        DatasetUnusable: it is not a tar file, or a sample lacks its picture or its class.
    """
    rows: List[Row] = []
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            end = _read_members(path, file, archive, rows)
    except (OSError, tarfile.TarError) as e:
        raise DatasetUnusable(f"{path}: expected a tar file, but {e}; replace or remove it") from e
    losses = [] if end is None else [f"{path}: ends early, after {len(rows)} whole samples: {end}"]
    return table_of(path.parent, [path], rows, losses)


def _read_members(
    path: Path, file: BinaryIO, archive: tarfile.TarFile, rows: List[Row]
) -> Optional[str]:
    """Add the samples to *rows*; return the problem if the file ends early, or None."""
    size = path.stat().st_size
    waiting: Dict[str, Dict[str, Tuple[int, int]]] = {}
    for member in _members(archive):
        if member.offset_data + member.size > size:
            return f"{member.name} has {size - member.offset_data} bytes of {member.size}"
        if not member.isfile():
            continue
        stem, suffix = _split(member.name)
        part = "class" if suffix == ".cls" else "picture" if suffix in SUFFIXES else None
        if part is None:
            continue
        found = waiting.setdefault(stem, {})
        if part in found:
            raise DatasetUnusable(f"{path}: {stem} has two parts with a {part}; one is expected")
        found[part] = (member.offset_data, member.size)
        if len(found) == 2:
            rows.append((0, *found["picture"], _label(path, stem, file, *found["class"])))
            del waiting[stem]
    if not _ends(file, archive.offset):
        return "the blocks of zeros that end a tar file are missing"
    for stem, found in waiting.items():
        lacks = "its class, NAME.cls" if "picture" in found else "a picture"
        raise DatasetUnusable(f"{path}: {stem} lacks {lacks}; a sample has both")
    return None


def _members(archive: Any) -> Iterator[tarfile.TarInfo]:
    while True:
        try:
            member = archive.next()
        except tarfile.ReadError:  # where the file ends within a member
            return
        if member is None:
            return
        archive.members = []  # else they would be kept in memory, a kilobyte each
        yield member


def _split(name: str) -> Tuple[str, str]:
    """Return the name of the sample and, in small letters, the suffix of its part."""
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")  # the convention: up to the first dot
    return f"{folder}/{stem}", f"{dot}{suffix}".lower()


def _label(path: Path, stem: str, file: BinaryIO, offset: int, size: int) -> int:
    place = file.tell()
    file.seek(offset)
    text = file.read(min(size, 64))
    file.seek(place)
    try:
        return int(text)
    except ValueError as e:
        raise DatasetUnusable(
            f"{path}: {stem}.cls holds {text[:20]!r}; expected a class number in digits, from 0"
        ) from e


def _ends(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    last: bytes = file.read(_BLOCK)
    return len(last) == _BLOCK and not any(last)
