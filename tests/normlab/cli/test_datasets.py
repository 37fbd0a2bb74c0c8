"""`normlab datasets fetch` and `verify`, with a mirror on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from normlab.cli import application
from normlab.stored import addresses
from tests.normlab.data.stored_pictures import write
from tests.normlab.stored.publisher import Publisher, archive, cifar10, published, serving


def run(*arguments: object) -> int:
    return application.run(["datasets", *map(str, arguments)])


def test_the_command_fetches_and_verifies_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    black = cifar10()
    known = published(black, "cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    known = dataclasses.replace(known, use="-s dataset.name=cifar10")
    monkeypatch.setitem(addresses.PUBLICATIONS, "cifar10", known)
    root = ("--data-root", tmp_path)
    with serving(Publisher({"/cifar10/cifar-10-binary.tar.gz": black})) as server:
        assert run("fetch", "cifar10", *root, "--mirror", f"{server.url}/") == 0
        assert "submit -s normalizer=batch -s dataset" in capsys.readouterr().out
        assert run("fetch", "cifar10", *root, "--mirror", server.url, "--json") == 0
        assert json.loads(capsys.readouterr().out)["folder"] == f"{tmp_path}/cifar-10-batches-bin"
    assert len(server.asked) == 1
    assert run("verify", "cifar10", *root) == 0
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(b"short")
    capsys.readouterr()
    assert run("verify", "cifar10", *root) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: truncated: 5 bytes of 30730000; remove its folder")
    assert run("fetch", "cifar10", *root) == 2
    assert "already exists and lacks" in capsys.readouterr().err


def test_an_archive_of_ones_own_is_fetched_by_its_address_and_checksum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets, others = (archive({f"pets/train/{kind}/1.png": b"1"}) for kind in ("cat", "dog"))
    root = ("--data-root", tmp_path)
    with serving(Publisher({"/a/pets.tgz": pets, "/b/pets.tgz": others})) as server:

        def fetch(folder: str, content: bytes) -> int:
            known = hashlib.sha256(content).hexdigest()
            return run("fetch", f"{server.url}/{folder}/pets.tgz", "--sha256", known, *root)

        assert fetch("a", others) == 2
        assert "SHA-256" in capsys.readouterr().err
        assert not (tmp_path / "pets").exists()
        assert fetch("a", pets) == 0
        assert "-s dataset.name=image_folder -s dataset.folder=pets" in capsys.readouterr().out
        assert fetch("a", pets) == 0  # it is there
        assert fetch("b", others) == 2
        assert "and is not from this archive; remove it" in capsys.readouterr().err
    assert (tmp_path / "pets/train/cat/1.png").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fetch", "http://x/pets.tgz"), "an address needs --sha256"),
        (("fetch", "http://x/pets.zip", "--sha256", 64 * "0"), "an archive NAME.tgz or NAME.tar"),
        (("fetch", "http://x/...tgz", "--sha256", 64 * "0"), "an archive NAME.tgz or NAME.tar"),
        (("fetch", "http://x/pets.tgz", "--sha256", "12"), "--sha256 12: expected 64 hex digits"),
        (("fetch", "mnist", "--sha256", 64 * "0"), "the checksums of mnist are known"),
        (("fetch", "cifar11"), "no address of 'cifar11' is known; there are cifar10"),
        (("fetch", "cifar11", "--sha256", 64 * "0"), "no address of 'cifar11' is known"),
        (("fetch", "ftp://x/a.tgz", "--sha256", 64 * "0"), "and addresses with http:// or https"),
        (("fetch", "mnist", "--mirror", "ftp://x"), "--mirror ftp://x: expected an address with"),
        (("verify", "nope"), "there is no dataset 'nope'; use one of"),
        (("verify", "image_folder"), "needs the name of its folder: --folder"),
        (("verify", "file"), "needs the name of its file: --file"),
        (("verify", "digits"), "is made in memory and has no files"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--data-root", tmp_path) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1


def test_verify_names_each_picture_and_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "webdataset")
    arguments = ["verify", "webdataset", "--folder", "pets", "--data-root", tmp_path]
    assert run(*arguments) == 0
    path = tmp_path / "pets" / "test" / "001.tar"
    content = bytearray(path.read_bytes())
    content[600:700] = b"?" * 100  # within the first picture
    path.write_bytes(bytes(content[:-11_000]))
    capsys.readouterr()
    assert run(*arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: ends early")
    assert lines[1].startswith(f"{path} at byte 512: expected a picture, but")
    assert len(lines) == 2


def test_verify_reads_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = np.zeros((20, 1, 4, 4), np.uint8), np.arange(20) % 2
    path = tmp_path / "my.npz"
    np.savez(path, train_x=x, train_y=y, test_x=x)
    arguments = ["verify", "file", "--file", "my.npz", "--data-root", tmp_path]
    assert run(*arguments) == 1
    assert f"{path}: test_y cannot be read" in capsys.readouterr().out
