"""Why a list is empty or not sorted: an unknown name, a filter that nothing matches, no entries."""

from __future__ import annotations

import difflib
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from normlab.errors import InvalidSpec, NotFound

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records import JobRecord

_METRIC = re.compile(r"[a-z]\w*/[\w./-]+")
_NONE = "no jobs found; queue one: normlab submit -s normalizer=batch"
_NO_STUDY = "no studies found; run one from a file that `normlab study run --help` shows"
_NONE_FITS = "no job matches; `normlab ls` alone lists the newest jobs"
_FEW = 5  # if there are more names, an error lists only the nearest


def _kinds(client: Client) -> List[str]:
    everywhere = [one.kind for one in client.normalizers()]
    added = [entry for plugin in client.plugins.list().plugins for entry in plugin.entries]
    return [*everywhere, *(entry.name for entry in added if entry.part == "normalizer")]


_KNOWN: Dict[str, Callable[[Client], List[str]]] = {
    "device": lambda client: [one.kind for one in client.devices()],
    "normalizer": _kinds,
    "project": lambda client: [one.name for one in client.projects.list()],
}
"""What the stack knows, including uploaded plugins, by the option that selects it."""


def refuse_unknown(client: Client, **asked: Optional[str]) -> None:
    """
    Raise InvalidSpec if an option has a name that the stack does not know and no job has.

    Args:
        asked: the names of `device`, `normalizer` or `project`; None if the option was not given.
    """
    for option, name in asked.items():
        known = [] if name is None else _KNOWN[option](client)
        if name is None or name in known or _has_jobs(client, **{option: name}):
            continue
        raise InvalidSpec(f"there is no {option} {name!r}{_instead(name, known)}")


def refuse_unknown_metric(client: Client, name: str) -> None:
    """Raise NotFound if no job has reported the metric *name*, or if it cannot be a metric."""
    unknown = _unknown_metric(client, name)
    if unknown is None and "/" not in name:
        unknown = f"{name!r} is not a metric: its name must have a group, as in val/accuracy"
    if unknown is not None:
        raise NotFound(unknown)


def why_none(
    client: Client, *texts: Optional[str], trash: bool = False, archived: bool = False
) -> str:
    """
    Say why no job is listed.

    Args:
        texts: the filter and the order, which may name a metric that no job has reported.
        trash: jobs in the trash were requested.
        archived: jobs in the archive were requested.
    """
    unknown = _unknown_metrics(client, *texts)
    if unknown is not None:
        return unknown
    if trash:
        some = list(client.list(limit=1, trash=True))
        return "no job in the trash matches" if some else "no job is in the trash"
    if archived:
        some = list(client.list(limit=1, archived="only"))
        return "no archived job matches" if some else "no job is archived"
    if list(client.list(limit=1)):
        return _NONE_FITS
    hidden = list(client.list(limit=1, archived="only"))
    return "all jobs are archived; list them: normlab ls --archived" if hidden else _NONE


def why_unsorted(client: Client, sort: Optional[str], jobs: Sequence[JobRecord]) -> str:
    """Say that none of *jobs* has the metric by which they were to be sorted; empty if one has."""
    metric = (sort or "").lstrip("-")
    if "/" not in metric or any(metric in job.last for job in jobs):
        return ""
    return _unknown_metric(client, metric) or f"no job in this list has reported {metric} yet"


def why_no_study(
    client: Client, project: Optional[str], archived: bool, trash: bool = False
) -> str:
    """Say why no study is listed, in *project* if it is given, in the archive or the trash."""
    within = f" in the project {project}" if project else ""
    if trash:
        return f"no study{within} is in the trash"
    if archived:
        return f"no study{within} is archived"
    if list(islice(client.studies.list(project, "only"), 1)):
        return f"all studies{within} are archived; list them: normlab study ls --archived"
    if project and list(islice(client.studies.list(), 1)):
        return f"no study is in the project {project}; `normlab study ls` alone lists all"
    return _NO_STUDY


def why_none_is_best(client: Client, metric: str, where: Optional[str], **filters: Any) -> str:
    """Say why no job that *where* and the other *filters* find is the best by *metric*."""
    narrowed = {name: value for name, value in filters.items() if value is not None}
    if where is not None:
        narrowed["filter"] = where
    if not list(client.list(limit=1, **narrowed)):
        return why_none(client, where)
    among = " among those that match" if narrowed else ""
    return f"no job{among} has succeeded with a value of {metric}"


def _unknown_metrics(client: Client, *texts: Optional[str]) -> Optional[str]:
    names = _METRIC.findall(" ".join(filter(None, texts)))
    return next(filter(None, (_unknown_metric(client, name) for name in names)), None)


def _unknown_metric(client: Client, name: str) -> Optional[str]:
    from normlab.client.tables import unknown_metric

    return unknown_metric(client.transport, name)


def _has_jobs(client: Client, **filters: str) -> bool:
    """Return whether a job has it: a kind that no longer exists may have old jobs."""
    places: List[Dict[str, Any]] = [{"archived": "show"}, {"trash": True}]
    return any(list(client.list(limit=1, **place, **filters)) for place in places)


def _instead(name: str, known: List[str]) -> str:
    if len(known) <= _FEW:
        return f"; use one of {', '.join(known)}" if known else ""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
    return f"; the nearest are {', '.join(near)}"
