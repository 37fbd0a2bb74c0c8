"""Find the API: from a given address, or from the file that `normlab up` wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.stacks.connection import Connection
from normlab.stacks.running import default_data_dir, running_stack, running_stacks


@dataclass(frozen=True)
class Address:
    """
    The address of the API as the user gave it, in part or not at all.

    Args:
        data_dir: the data folder of the stack to use; None for the running stack.
    """

    url: Optional[str]
    token: Optional[str]
    data_dir: Optional[Path] = None


def data_dir_of(address: Address) -> Path:
    """Return the data folder, which may not exist yet, of the stack that *address* names."""
    if address.data_dir is not None:
        return address.data_dir
    default = default_data_dir()
    if address.url is not None or running_stack(default) is not None:
        return default
    others = running_stacks()
    if len(others) > 1:
        where = ", ".join(f"{stack.data_dir} ({stack.connection.url})" for stack in others)
        raise InvalidSpec(f"several stacks of this user run: {where}; name one with --data-dir")
    return others[0].data_dir if others else default


def datasets_of(address: Address) -> Path:
    """Return the folder of datasets of the stack that *address* names, from its own file."""
    data_dir = data_dir_of(address)
    found = running_stack(data_dir)
    said = None if found is None else found.connection.data_root
    return data_dir / "datasets" if said is None else Path(said)


def resolve(address: Address) -> Connection:
    """
    Complete *address* with the connection of a running stack on this machine.

    Raises:
        ServiceUnavailable: no address is given and no stack is running here.
        InvalidSpec: several stacks are running, and none is named.
    """
    if address.url is not None:
        there = _stack_at(address)
        own = Connection(address.url) if there is None else there
        return replace(own, url=address.url, token=address.token or own.token)
    data_dir = data_dir_of(address)
    found = running_stack(data_dir)
    if found is None:
        raise ServiceUnavailable(
            f"no API is known: no --url, no NORMLAB_URL, no stack of this user runs in "
            f"{data_dir}; start one with `normlab up`"
        )
    left = found.connection
    return replace(left, token=address.token or left.token)


def _stack_at(address: Address) -> Optional[Connection]:
    one = running_stack(address.data_dir or default_data_dir())
    known = [one] if one is not None else []
    for stack in [*known, *([] if address.data_dir else running_stacks())]:
        if stack.connection.url.rstrip("/") == str(address.url).rstrip("/"):
            return stack.connection
    return None
