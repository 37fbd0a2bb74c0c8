"""Code is addressed by its content."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from normlab.errors import InvalidSpec, NotFound
from normlab.plugins.sources import MOST_BYTES, PluginFiles, read_source, unpacked
from tests.normlab.plugins.authors import mine, written


def test_the_same_content_has_the_same_digest_wherever_it_lies(tmp_path: Path) -> None:
    assert read_source(written(tmp_path)).digest == mine().digest
    assert read_source(mine().written_below(tmp_path / "code")).digest == mine().digest
    assert unpacked("x", mine().packed()).digest == mine().digest


def test_any_change_is_another_digest(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text() + " ")
    assert read_source(path).digest != mine().digest
    files = {"a.py": b"", "b.py": b"c"}
    assert PluginFiles("x", files).digest != PluginFiles("x", {"a.py": b"c", "b.py": b""}).digest


def test_a_folder_is_read_with_all_its_files_but_not_what_python_leaves(tmp_path: Path) -> None:
    (tmp_path / "inner" / "__pycache__").mkdir(parents=True)
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "inner" / "table.csv").write_text("1,2")
    (tmp_path / "inner" / "__pycache__" / "a.pyc").write_bytes(b"")
    assert set(read_source(tmp_path).files) == {"a.py", "inner/table.csv"}


def test_what_is_no_plugin_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        read_source(tmp_path / "none.py")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidSpec, match=r"\.py file or a folder"):
        read_source(tmp_path / "notes.txt")
    with pytest.raises(InvalidSpec, match=r"no \.py file"):
        read_source(tmp_path)
    with (tmp_path / "large.py").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for path in (tmp_path, tmp_path / "large.py"):
        with pytest.raises(InvalidSpec, match="data root"):
            read_source(path)


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "a\\..\\out.py"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x = 1")
    with pytest.raises(InvalidSpec, match="leads out"):
        unpacked("evil.zip", buffer.getvalue())


def test_an_archive_that_is_none_or_swells_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="not a zip archive"):
        unpacked("x.zip", b"PK but no more")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b" " * (MOST_BYTES + 1))
    with pytest.raises(InvalidSpec, match="MiB"):
        unpacked("bomb.zip", buffer.getvalue())
