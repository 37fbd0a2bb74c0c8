"""The user that runs servers if we are root, and the permissions of the folders it needs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.errors import ServiceUnavailable

# PostgreSQL refuses to run as root: the first of these users that exists runs it. The last exists
# everywhere.
_SERVER_USERS = ("postgres", "pgserver", "nobody")


@dataclass(frozen=True)
class ServerUser:
    """The user that runs a server when we are root."""

    uid: int
    gid: int


def server_user() -> ServerUser | None:
    """Return the user that runs PostgreSQL; None: this process's own, if it is not root."""
    if os.geteuid() != 0:
        return None
    for name in _SERVER_USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise ServiceUnavailable(
        f"PostgreSQL does not run as root, and none of the users {', '.join(_SERVER_USERS)} "
        "exists; start normlab as another user, or name a server in NORMLAB_DATABASE_URL"
    )


def popen_options(user: ServerUser | None) -> dict[str, Any]:
    """Return the options with which `subprocess` starts a process as *user*."""
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": []}


def socket_folder(data_dir: Path, *, shared: bool) -> Path:
    """
    Make the private folder of a data directory's sockets, with a path short enough for them.

    A socket's path may have no more than 107 bytes, which a data directory's may exceed.

    Args:
        shared: whether the server's user needs access too.
    """
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    folder = _short_base() / f"normlab-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ServiceUnavailable(f"{folder} belongs to somebody else; remove it and start again")
    folder.chmod(0o711 if shared else 0o700)
    return folder


def _short_base() -> Path:
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if candidate and len(candidate) <= 40 and os.access(candidate, os.W_OK):
            return Path(candidate)
    return Path("/tmp")


def let_through(path: Path, user: ServerUser | None) -> None:
    """Allow *user* to enter the folders above *path*, but not to list them."""
    if user is None:
        return
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH and folder.stat().st_uid != user.uid:
            folder.chmod(mode | stat.S_IXOTH)
