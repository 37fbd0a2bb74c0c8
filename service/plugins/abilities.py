"""
The code that workers can load: packages for plugins and networks, and tried plugins.

A job requires names: the digests of its plugins, and the library of its network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, text

from normlab.plugins.needs import unmet
from normlab.specs.jobs import plugins_named
from normlab.specs.zoo import LIBRARIES, zoo_facts
from service.store.database import Database
from service.store.events import to_json

REQUIRED = "(code || array_remove(array[split_part(model, '/', 1)], model))"
"""What a job requires, in SQL; the same as `required`."""
_NEEDS = text("""
    select digest, name, coalesce(description -> 'needs', '[]') as needs from plugin
    where digest = any(:digests)
""")
_OFFERS = text("""
    select device, hostname, packages, loads from worker
    where live_until > clock_timestamp() order by device, id
""")
_ADVERTISE = text("""
    update worker set packages = cast(:packages as jsonb), loads = cast(:loads as jsonb)
    where id = :worker
""")


class Ability(Protocol):
    """A worker's knowledge of the plugins and libraries that its jobs can load."""

    def unloadable(self) -> Collection[str]:
        """Return the names of those that the jobs cannot load, as far as is known."""

    def unjudged(self, code: Sequence[str]) -> bool:
        """Return whether one of *code*, which a job requires, has not been judged."""

    def judge(self, code: Sequence[str]) -> Collection[str]:
        """Judge *code*, which a job requires, and return what cannot be loaded now."""


@dataclass(frozen=True)
class Wanted:
    """A plugin that jobs use, or a library of networks, with the packages that it needs."""

    digest: str
    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Abilities:
    """
    The packages and plugins that the jobs of one worker find.

    Args:
        packages: versions by name; None: not known yet.
        loads: by digest, why a plugin cannot be loaded; "" if it was loaded.
    """

    device: str
    hostname: str
    packages: Mapping[str, str] | None = None
    loads: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, plugin: Wanted) -> list[str]:
        """Return why *plugin* cannot be loaded there; empty if no reason is known."""
        tried = self.loads.get(plugin.digest)
        if tried is not None:
            return [tried] if tried else []
        return [] if self.packages is None else unmet(plugin.needs, self.packages)


def required(code: Iterable[str], model: str) -> tuple[str, ...]:
    """Return what a job with the plugins *code* and the network *model* requires."""
    facts = zoo_facts(model)
    return (*code,) if facts is None else (*code, model.partition("/")[0])


def packages_of(code: Iterable[str]) -> list[str]:
    """Return the packages of the libraries in *code*, which a job requires."""
    return [LIBRARIES[name].package for name in code if name in LIBRARIES]


def wanted(connection: Connection, code: Iterable[str]) -> list[Wanted]:
    """Return the plugins and libraries in *code*, as far as they are known."""
    asked = sorted(set(code))
    found = [
        Wanted(name, f"networks of {name}", (LIBRARIES[name].package,))
        for name in asked
        if name in LIBRARIES
    ]
    digests = [name for name in asked if name not in LIBRARIES]
    if digests:
        rows = connection.execute(_NEEDS, {"digests": digests})
        found += [Wanted(row.digest, row.name, tuple(row.needs)) for row in rows]
    return found


def offers(connection: Connection) -> list[Abilities]:
    """Return what each live worker offers."""
    rows: Sequence[Any] = connection.execute(_OFFERS).all()
    return [Abilities(row.device, row.hostname, row.packages, row.loads) for row in rows]


def advertise(
    database: Database, worker: str, packages: Mapping[str, str] | None, loads: Mapping[str, str]
) -> bool:
    """Store what *worker* offers; False before its first heartbeat."""
    values = {
        "worker": worker,
        "packages": None if packages is None else to_json(dict(packages)),
        "loads": to_json(dict(loads)),
    }
    with database.begin() as connection:
        return connection.execute(_ADVERTISE, values).rowcount > 0


def unable(database: Database, code: Sequence[str]) -> dict[str, str]:
    """Return why the live workers of a kind of device cannot load all that is required, by kind."""
    plugins = [Wanted(found.digest, found.name, found.needs) for found in plugins_named(code)]
    if not plugins:
        return {}
    with database.autocommit() as connection:
        offered = offers(connection)
    told = {offer.device: nobody_loads(offer.device, plugins, offered) for offer in offered}
    return {device: reason for device, reason in told.items() if reason is not None}


def nobody_loads(
    device: str, plugins: Sequence[Wanted], offered: Sequence[Abilities]
) -> str | None:
    """
    Say which of *plugins* no live worker for *device* can load, and why; None if one can load all.
    None without a live worker too: then the job waits for any worker.
    """
    told = [
        (offer.hostname, [f"{p.name}: {why}" for p in plugins for why in offer.lacks(p)])
        for offer in offered
        if offer.device == device
    ]
    if not told or not all(lacks for _, lacks in told):
        return None
    reasons = dict.fromkeys("; ".join(lacks) for _, lacks in told)
    if len(reasons) == 1:
        return next(iter(reasons))
    return "; ".join(f"on {host} {', '.join(lacks)}" for host, lacks in told)
