"""The jobs that a specification names, by their whole ids: people write their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from normlab.client import Client

_SHA256_DIGITS = 64


def with_whole_ids(client: Client, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Return *spec*, a job or a study, with the whole ids of the jobs that `init_from` names."""
    made = dict(spec)
    if "init_from" in made:
        made["init_from"] = _whole(client, made["init_from"])
    if isinstance(made.get("base"), dict):
        made["base"] = with_whole_ids(client, made["base"])
    if isinstance(made.get("axes"), (list, dict)):
        made["axes"] = _in_axes(client, made["axes"])
    return made


def _in_axes(client: Client, axes: Any) -> Any:
    if isinstance(axes, list):
        return [_in_axes(client, axis) for axis in axes]
    if not isinstance(axes, dict):
        return axes
    named = ("init_from", "init_from.job", "init_from.from")
    return {
        path: [_whole(client, value) for value in values]
        if path in named and isinstance(values, list)
        else values
        for path, values in axes.items()
    }


def _whole(client: Client, named: Any) -> Any:
    from normlab.specs.starting_weights import SUFFIX

    if isinstance(named, str):
        is_job = not named.endswith(SUFFIX) and len(named) != _SHA256_DIGITS
        return client.job_id(named) if is_job else named
    if isinstance(named, dict):
        jobs = ("job", "from")
        return {n: _whole(client, v) if n in jobs else v for n, v in named.items()}
    return named
