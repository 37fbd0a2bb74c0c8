"""A stack for a command: a running one, or its own, which stops with the command."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Dict, Iterator

import typer

from normlab.cli.connecting import client_of, connect
from normlab.counting import counted
from normlab.errors import NormlabError
from normlab.host.limits import usable_cores
from normlab.stacks.addresses import Address, data_dir_of
from normlab.stacks.connection import forget_connection
from normlab.stacks.own import own_stack
from normlab.stacks.running import running_stack

if TYPE_CHECKING:
    from normlab.client import Client


@contextmanager
def running_or_own_stack(ctx: typer.Context) -> Iterator[Client]:
    """
    Give a client of the API that the command line names, or of a stack started for the command.

    The command's own stack uses the user's data folder, so its results are still there next time.
    """
    address: Address = ctx.find_root().obj
    if address.url is not None or _answers(address):
        with connect(ctx) as client:
            yield client
        return

    data_dir = data_dir_of(address)
    forget_connection(data_dir)  # left by a stack that was killed
    settings = _own_settings()
    slots = settings["NORMLAB_SLOTS"]
    print(
        f"no stack runs: starting one with {counted(int(slots), 'slot')} in {data_dir}",
        file=sys.stderr,
        flush=True,
    )
    with own_stack(data_dir, settings) as own, client_of(own) as client:
        yield client


def _answers(address: Address) -> bool:
    found = running_stack(data_dir_of(address))
    if found is None:
        return False

    left = found.connection
    try:
        with client_of(left, tries=1, timeout_s=10.0) as client:
            client.devices()
    except NormlabError:
        return False
    return True


def _own_settings() -> Dict[str, str]:
    wished = {"NORMLAB_PORT": "0", "NORMLAB_HOST": "127.0.0.1"}
    wished["NORMLAB_SLOTS"] = str(usable_cores())
    return {name: os.environ.get(name, value) for name, value in wished.items()}
