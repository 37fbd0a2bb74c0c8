"""Let the kernel detect and close this process's dead connections."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

AFTER_S = 15
"""A connection is closed if the other host does not answer for this time."""
_PROBE_S = 5


def notice_dead_connections() -> None:
    """
    Have each TCP connection that is open now closed after its other end was silent for `AFTER_S`.

    A host that loses its power or its network does not close its connections, and neither gloo nor
    torch's store checks whether the other end is still there. Connections that a fork has inherited
    are shared with its parent. On systems other than Linux, nothing is done.
    """
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # not a socket, not a connection, or closed by now
                _watch(int(name))


def _watch(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as copy:
        if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
            return
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_S)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, AFTER_S // _PROBE_S - 1)
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, AFTER_S * 1000)
