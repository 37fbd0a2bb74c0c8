"""Downloads from a local server: broken, resumed, wrong, and complete or absent."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Optional

import pytest

from normlab.errors import Conflict, DatasetUnusable, ServiceUnavailable, StorageFull
from normlab.host.locks import held
from normlab.stored.downloads import DownloadProgress, download
from normlab.stored.fetching import fetch
from tests.normlab.stored.publisher import Publisher, archive, published, serving

CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


def quiet(name: str) -> DownloadProgress:
    return lambda here, whole: None


def test_a_download_that_breaks_goes_on_where_it_stopped(tmp_path: Path) -> None:
    seen: list[tuple[int, Optional[int]]] = []
    waited: list[float] = []

    def progress(here: int, whole: Optional[int]) -> None:
        seen.append((here, whole))

    with serving(Publisher({"/f": CONTENT}, breaks=2)) as server:
        download(f"{server.url}/f", tmp_path / "f", MD5, progress, waited.append)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=128000-", "bytes=192000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [here for here, _ in seen] == sorted(here for here, _ in seen)
    assert waited == [1, 1]  # each try brought something


def test_what_an_earlier_call_left_is_continued(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:100_000])
    with serving(Publisher({"/f": CONTENT})) as server:
        download(f"{server.url}/f", tmp_path / "f", MD5)
    assert server.asked == ["bytes=100000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_whole_beginning_needs_no_more_bytes(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    with serving(Publisher({"/f": CONTENT})) as server:
        download(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:100_000])
    with serving(Publisher({"/f": CONTENT}, ranges=False)) as server:
        download(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_gives_nothing_new_is_left_and_the_beginning_kept(tmp_path: Path) -> None:
    waited: list[float] = []
    (tmp_path / "f.part").write_bytes(CONTENT[:7])
    with pytest.raises(ServiceUnavailable, match=r"7 bytes are kept in .*f\.part; fetch again"):
        download("http://127.0.0.1:9/f", tmp_path / "f", MD5, wait=waited.append)
    assert waited == [1, 2, 4, 8]
    assert not (tmp_path / "f").exists()


def test_a_full_disk_is_named_and_the_beginning_kept(tmp_path: Path) -> None:
    def full(here: int, whole: Optional[int]) -> None:
        raise OSError(28, "No space left on device")

    said = r"no space for .*f\.part"
    with serving(Publisher({"/f": CONTENT})) as server, pytest.raises(StorageFull, match=said):
        download(f"{server.url}/f", tmp_path / "f", MD5, full)
    assert CONTENT.startswith((tmp_path / "f.part").read_bytes())


def test_a_file_with_another_checksum_is_removed_and_both_are_named(tmp_path: Path) -> None:
    said = f"of 256001 bytes, but {MD5} was published"
    with serving(Publisher({"/f": CONTENT + b"!"})) as server, pytest.raises(
        DatasetUnusable, match=said
    ):
        download(f"{server.url}/f", tmp_path / "f", MD5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    said = "the server has no such file; name another with --mirror"
    with serving(Publisher({})) as server, pytest.raises(ServiceUnavailable, match=said):
        download(f"{server.url}/f", tmp_path / "f", MD5)


def test_an_archive_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = archive({"pets/train/cat/1.png": b"1", "pets/val/cat/2.png": b"2"})
    pets = published(content, "pets.tgz", "pets")
    with serving(Publisher({"/pets/pets.tgz": content})) as server:
        monkeypatch.setattr(tarfile.TarFile, "extractfile", _full)
        with pytest.raises(DatasetUnusable, match=r"pets\.tgz: cannot be unpacked: .*No space"):
            fetch("pets", pets, tmp_path, quiet, server.url)
        assert not (tmp_path / "pets").exists()
        monkeypatch.undo()
        assert fetch("pets", pets, tmp_path, quiet, server.url) == tmp_path / "pets"
    assert len(server.asked) == 1  # the archive was still there
    assert (tmp_path / "pets/val/cat/2.png").read_bytes() == b"2"
    assert not (tmp_path / ".normlab" / "fetching-pets").exists()


def test_what_is_left_of_another_archive_is_not_unpacked(tmp_path: Path) -> None:
    empty, whole = (archive({f"{name}/train/cat/1.png": b"1"}) for name in ("other", "pets"))
    served = Publisher({"/pets/pets.tgz": empty})
    with serving(served) as server:
        with pytest.raises(DatasetUnusable, match="has no folder pets"):
            fetch("pets", published(empty, "pets.tgz", "pets"), tmp_path, quiet, server.url)
        served.files["/pets/pets.tgz"] = whole
        fetch("pets", published(whole, "pets.tgz", "pets"), tmp_path, quiet, server.url)
    assert (tmp_path / "pets/train/cat/1.png").exists()


def _full(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    raise OSError(28, "No space left on device")


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    content = archive({"../../../evil": b"1"})
    said = r"\.\./evil leads out of its folder"
    with serving(Publisher({"/pets/pets.tgz": content})) as server, pytest.raises(
        DatasetUnusable, match=said
    ):
        fetch("pets", published(content, "pets.tgz", "pets"), tmp_path, quiet, server.url)
    assert not list(tmp_path.rglob("evil"))


def test_one_process_fetches_at_a_time(tmp_path: Path) -> None:
    (tmp_path / ".normlab").mkdir()
    said = "another process is fetching pets"
    with held(tmp_path / ".normlab" / "fetching-pets.lock"), pytest.raises(Conflict, match=said):
        fetch("pets", published(b"", "pets.tgz", "pets"), tmp_path, quiet, "http://x")
