"""The meeting point of the hosts of one training: a key-value store that the first one opens."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Iterator

import psutil
import torch.distributed

from normlab.errors import DeviceUnavailable

# A host that joins has its worker's lease already; it only has to import torch.
JOIN = timedelta(minutes=5)
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
"""The loopback interface, which other hosts cannot reach."""


_DIST: Any = torch.distributed  # its type hints do not include the stores


@dataclass(frozen=True)
class Meeting:
    """
    One host's view of the hosts of one training.

    Attributes:
        run: a unique name of this attempt.
        hosts: the number of hosts.
        seat: the number of this host, from 0.
        address: the IP address of this host, as the others reach it.
        endpoint: the address and port of the store.
    """

    run: str
    hosts: int
    seat: int
    address: str
    endpoint: str

    def store(self) -> Any:
        """Connect to the store, for the replicas of this host."""
        host, _, port = self.endpoint.rpartition(":")
        return _DIST.PrefixStore("replicas", _store(host.strip("[]"), int(port)))


@contextmanager
def opened(address: str) -> Iterator[str]:
    """Open a store on a free port of this host, and yield its endpoint."""
    store = _store(address, 0, is_master=True)
    yield f"[{address}]:{store.port}" if ":" in address else f"{address}:{store.port}"
    del store  # its server runs as long as the object exists


def _store(host: str, port: int, is_master: bool = False) -> Any:
    return _DIST.TCPStore(host, port, is_master=is_master, timeout=JOIN, wait_for_workers=False)


def interface_of(address: str) -> str:
    """
    Return the name of this host's network interface with *address*.

    Raises:
        DeviceUnavailable: this host has no such address.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.address.partition("%")[0] == address for known in addresses):
            return name
    raise DeviceUnavailable(
        f"no network interface of {socket.gethostname()} has the address {address}; set "
        "NORMLAB_ADDRESS of its worker to one by which other hosts reach it"
    )


def use_interface(name: str) -> None:
    """Let torch.distributed communicate over the network interface *name* from now on."""
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name
