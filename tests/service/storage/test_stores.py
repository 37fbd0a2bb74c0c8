"""A folder and a bucket keep files alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from normlab.errors import InvalidSpec, NotFound, ServiceUnavailable
from service.settings import Settings
from service.storage import open_store
from service.storage.bucket import BucketStore
from service.storage.store import PIECE_BYTES, Damaged, Store, StoredFile
from tests.s3 import Bucket

CONTENT = bytes(range(256)) * 4


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(Settings(storage=str(tmp_path / "kept")))
    bucket: Bucket = request.getfixturevalue("bucket")
    return open_store(Settings(storage=bucket.url))


def written(path: Path, content: bytes = CONTENT, place: str = "j/attempt-1/a.pt") -> StoredFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return StoredFile(place, hashlib.sha256(content).hexdigest(), len(content))


def kept(store: Store, tmp_path: Path, place: str = "j/attempt-1/a.pt") -> StoredFile:
    """Write a file where a job would, and store it."""
    path = store.local(place) or tmp_path / "job" / place
    file = written(path, place=place)
    store.put(path, file)
    return file


def test_what_is_stored_is_read_back_whole_and_in_parts(store: Store, tmp_path: Path) -> None:
    file = kept(store, tmp_path)
    assert store.fetch(file, tmp_path / "copies").read_bytes() == CONTENT
    assert b"".join(store.pieces(file.place, 0, file.bytes)) == CONTENT
    assert b"".join(store.pieces(file.place, 10, 20)) == CONTENT[10:20]
    assert b"".join(store.pieces(file.place, 5, 5)) == b""


def test_files_are_listed_and_removed_by_place_and_by_folder(store: Store, tmp_path: Path) -> None:
    store.check()
    places = ["j/attempt-1/a.pt", "j/attempt-1/b.pt", "j/attempt-2/c.pt", "k/attempt-1/a.pt"]
    for place in places:
        kept(store, tmp_path, place)
    assert store.places("j") == places[:3]
    store.remove([places[0], "j/attempt-9/no.pt"])
    store.remove_folder("k")
    assert (store.places("j"), store.places("k")) == (places[1:3], [])
    store.remove_folder("nobody")


def test_a_file_that_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    gone = StoredFile("j/attempt-1/gone.pt", "ab", 3)
    with pytest.raises(NotFound, match=r"gone\.pt"):
        store.fetch(gone, tmp_path)
    with pytest.raises(NotFound, match=r"gone\.pt"):
        list(store.pieces(gone.place, 0, 3))


@pytest.mark.parametrize("place", ["../token", "/etc/hostname", "j/../../token", "j/link/token"])
def test_nothing_outside_the_folder_is_read_or_removed(place: str, tmp_path: Path) -> None:
    store = open_store(Settings(storage=str(tmp_path / "kept")))
    (tmp_path / "token").write_text("a secret")
    (tmp_path / "kept" / "j").mkdir(parents=True)
    (tmp_path / "kept" / "j" / "link").symlink_to(tmp_path)
    file = StoredFile(place, "ab", 8)
    for use in (
        lambda: store.fetch(file, tmp_path),
        lambda: list(store.pieces(place, 0, 8)),
        lambda: store.remove([place]),
        lambda: store.remove_folder(place),
    ):
        with pytest.raises(NotFound, match="is not a place among the files of jobs"):
            use()
    assert (tmp_path / "token").exists()


def test_a_large_file_goes_through_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    store = BucketStore(bucket.url)
    content = os.urandom(PIECE_BYTES + 1000)
    file = written(tmp_path / "a.pt", content)
    store.put(tmp_path / "a.pt", file)
    assert store.fetch(file, tmp_path / "copies").read_bytes() == content
    end = b"".join(store.pieces(file.place, PIECE_BYTES - 5, file.bytes))
    assert end == content[PIECE_BYTES - 5 :]


def test_a_copy_with_another_checksum_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    store = BucketStore(bucket.url)
    file = kept(store, tmp_path)
    for other in (CONTENT[::-1], CONTENT[:-1]):
        bucket.write(file.place, other)
        with pytest.raises(NotFound, match="is damaged"):
            store.fetch(file, tmp_path / "copies")
        assert not [path for path in (tmp_path / "copies").rglob("*.pt") if path.is_file()]


def test_a_copy_that_was_interrupted_goes_on_where_it_stopped(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, copies = BucketStore(bucket.url), tmp_path / "copies"
    content = os.urandom(2 * PIECE_BYTES)
    file = written(tmp_path / "a.pt", content)
    store.put(tmp_path / "a.pt", file)
    pieces, begun_at = store.pieces, []

    def watched(place: str, start: int, end: int) -> Iterator[bytes]:
        begun_at.append(start)
        for piece in pieces(place, start, end):
            yield piece
            if start == 0:
                bucket.gate.shut()

    monkeypatch.setattr(store, "pieces", watched)
    with pytest.raises(ServiceUnavailable, match="cannot read"):
        store.fetch(file, copies)
    bucket.gate.open()
    assert store.fetch(file, copies).read_bytes() == content
    assert begun_at == [0, PIECE_BYTES]


def test_a_beginning_that_a_crash_has_damaged_is_copied_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    store = BucketStore(bucket.url)
    file = kept(store, tmp_path)
    part = tmp_path / "copies" / f"{file.place}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(100))
    assert store.fetch(file, tmp_path / "copies").read_bytes() == CONTENT
    assert not part.exists()


def test_a_file_that_changed_after_the_job_wrote_it_is_not_stored(
    bucket: Bucket, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(Damaged, match=r"a\.pt is not what the job wrote"):
        BucketStore(bucket.url).put(tmp_path / "a.pt", file)
    assert bucket.places() == []


def test_an_upload_that_is_cut_leaves_nothing_and_is_an_outage(
    bucket: Bucket, tmp_path: Path
) -> None:
    store = BucketStore(bucket.url)
    file = written(tmp_path / "a.pt", os.urandom(1 << 20))
    bucket.gate.upload_bytes = 1 << 19
    with pytest.raises(ServiceUnavailable, match=r"cannot store j/attempt-1/a\.pt"):
        store.put(tmp_path / "a.pt", file)
    assert bucket.places() == []
    bucket.gate.upload_bytes = None
    store.put(tmp_path / "a.pt", file)
    assert bucket.places() == [file.place]


def test_a_bucket_that_is_gone_is_an_outage_and_not_a_missing_file(
    bucket: Bucket, tmp_path: Path
) -> None:
    store = BucketStore(bucket.url)
    file = kept(store, tmp_path)
    bucket.vanish()
    for ask in (store.check, lambda: store.fetch(file, tmp_path), lambda: store.places("j")):
        with pytest.raises(ServiceUnavailable, match=bucket.url):
            ask()
    with pytest.raises(ServiceUnavailable, match="cannot store"):
        store.put(tmp_path / "job" / file.place, file)


@pytest.mark.parametrize("url", ["s3://", "ftp://host/x", "relative/folder", "s3://a b"])
def test_a_storage_that_is_neither_a_folder_nor_a_bucket_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_STORAGE", url)
    with pytest.raises(InvalidSpec, match="NORMLAB_STORAGE"):
        Settings.from_env()


def test_google_and_azure_have_the_same_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "lab")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    for url in ("gs://lab/jobs", "az://lab/jobs"):
        assert not open_store(Settings(storage=url)).in_place
