"""Only the owner can read the files of a stack, new and old ones."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from normlab.host.private_files import append_privately, tighten, write_privately


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_process_makes_files_and_folders_only_for_its_owner(
    tmp_path: Path,
) -> None:
    code = (
        "import os; os.umask(0); from normlab.host.private_files import keep_private;"
        "keep_private(); os.mkdir('folder'); open('file', 'w'); import subprocess;"
        "subprocess.run(['touch', 'of-a-child'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    found = {path.name: mode(path) for path in tmp_path.iterdir()}
    assert found == {"folder": 0o700, "file": 0o600, "of-a-child": 0o600}


def test_a_log_is_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with append_privately(tmp_path / "log") as log:
            log.write(b"one\n")
        with append_privately(tmp_path / "log") as log:
            log.write(b"two\n")
    finally:
        os.umask(before)
    assert mode(tmp_path / "log") == 0o600
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_secret_replaces_an_older_one_whole_and_is_private_whatever_the_umask_is(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "token.tmp").write_text("half of one that was never finished")
        for secret in ("first", "second"):
            write_privately(tmp_path / "token", secret)
            assert (tmp_path / "token").read_text() == secret
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert mode(tmp_path / "token") == 0o600


def test_wide_permissions_of_an_older_version_are_corrected(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    outside.chmod(0o644)
    data = tmp_path / "data"
    job = data / "jobs" / "1"
    job.mkdir(parents=True)
    (data / "datasets").mkdir()
    (job / "checkpoint.pt").touch()
    (job / "link").symlink_to(outside)
    for path in (data, data / "jobs", job, data / "datasets"):
        path.chmod(0o755)
    (job / "checkpoint.pt").chmod(0o644)
    tighten(data, leave={"datasets"})
    assert [mode(path) for path in (data, data / "jobs", job)] == [0o700] * 3
    assert mode(job / "checkpoint.pt") == 0o600
    assert mode(data / "datasets") == 0o755  # the operator's
    assert mode(outside) == 0o644  # behind a link
