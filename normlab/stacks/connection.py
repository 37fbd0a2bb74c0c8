"""The address and token of a running stack: the file that `normlab up` writes for the CLI."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from normlab.errors import InvalidSpec
from normlab.host.private_files import write_privately

if TYPE_CHECKING:
    import ssl

FILE_NAME = "connection.json"


@dataclass(frozen=True)
class Connection:
    """The address of an API, a token that it knows, and the folder of its datasets on this host."""

    url: str
    token: Optional[str] = None
    data_root: Optional[str] = None
    certificate: Optional[str] = None
    """The file with the server's own certificate; None if it serves HTTP."""

    def write(self, data_dir: Path) -> Path:
        """Write this connection to *data_dir*, readable only by its owner."""
        path = data_dir / FILE_NAME
        write_privately(path, json.dumps(asdict(self)))
        return path


def read_connection(data_dir: Path) -> Optional[Connection]:
    """Return the connection that a stack wrote to *data_dir*, or None if there is none."""
    try:
        left = json.loads((data_dir / FILE_NAME).read_text())
        # a stack of an older version does not report the folder of its datasets
        rest = left.get("data_root"), left.get("certificate")
        return Connection(str(left["url"]), left["token"], *rest)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_connection(data_dir: Path) -> None:
    """Remove the file of a stack that has stopped."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)


_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN; Python 3.10 names it


def pinned(certificate: Path) -> ssl.SSLContext:
    """
    Return a context that accepts servers with exactly *certificate*, and no others.

    Raises:
        InvalidSpec: it cannot be read.
    """
    import ssl  # slow to load, and most stacks serve HTTP

    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except (OSError, ssl.SSLError) as e:
        reason = f"the certificate {certificate} of the stack cannot be read: {e}"
        raise InvalidSpec(reason) from e
    context.check_hostname = False
    context.verify_flags |= _PARTIAL_CHAIN
    return context
