"""Tab completion: jobs and names of the catalogue; without jobs if the API does not answer."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, TypeVar

import typer
from typer.core import TyperCommand

from normlab.cli.output import STYLES, short_ids
from normlab.errors import NormlabError

if TYPE_CHECKING:
    from normlab.client import Client

AnswerT = TypeVar("AnswerT")

# The Tab key must not hang: no list is better than a slow one.
PATIENCE_S = 0.7
_STUDIES = 50
_BEFORE = "normlab.before"
_WORD = re.compile(r"[\w.-]+")


def job_ids(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the newest jobs, by the end of the id that tables show or by the whole id."""
    return _jobs(ctx, incomplete)


def deleted_jobs(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the newest jobs in the trash."""
    return _jobs(ctx, incomplete, trash=True)


def _jobs(ctx: typer.Context, incomplete: str, **of: Any) -> List[Tuple[str, str]]:
    jobs = _asked(ctx, lambda client: client.page(limit=50, **of).jobs) or []
    ends = short_ids([job.id for job in jobs])
    texts = [end if end.startswith(incomplete) else job.id for end, job in zip(ends, jobs)]
    return [
        (text, f"{job.state} {job.normalizer}")
        for text, job in zip(texts, jobs)
        if text.startswith(incomplete)
    ]


def kinds(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the kinds of normalizer."""
    from normlab.specs.normalizers import BY_KIND

    found = _asked(ctx, lambda client: [one.kind for one in client.normalizers()])
    return [kind for kind in found or BY_KIND if kind.startswith(incomplete)]


def networks(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the names of networks."""
    from normlab.specs.models import MODELS

    found = _asked(ctx, lambda client: [one.name for one in client.models()])
    return [name for name in found or MODELS if name.startswith(incomplete)]


def data(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the names of datasets."""
    from normlab.specs.datasets import DATASETS

    found = _asked(ctx, lambda client: [one.name for one in client.datasets()])
    return [name for name in found or DATASETS if name.startswith(incomplete)]


def fields(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the fields of a job, as `--set` takes them, and values if there are only a few."""
    from normlab.specs.jobs import JobSpec
    from normlab.specs.problems import field_names

    name, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{name}={value}" for value in _values(ctx, name, begun)]
    known = dict.fromkeys([*JobSpec.model_fields, *field_names(JobSpec)])
    return [f"{name}=" for name in known if name.startswith(incomplete)]


def study_fields(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the fields of a study, and those of the job that its cells share."""
    from normlab.specs.problems import field_names
    from normlab.specs.studies import StudySpec

    if incomplete.startswith("base."):
        return [f"base.{found}" for found in fields(ctx, incomplete[len("base.") :])]
    known = [f"{name}=" for name in dict.fromkeys(field_names(StudySpec)) if name != "base"]
    return [name for name in [*known, "base."] if name.startswith(incomplete)]


def _values(ctx: typer.Context, field: str, incomplete: str) -> List[str]:
    from normlab.specs.jobs import JobSpec
    from normlab.specs.problems import field_words

    whole, dot, option = field.partition(".")
    by_name = {"normalizer": kinds, "model": networks, "dataset": data}
    complete = by_name.get(whole) if not dot or option in ("kind", "name") else None
    if complete is not None:
        return complete(ctx, incomplete)
    known = dict.fromkeys(field_words(JobSpec, field))
    return [word for word in known if word.startswith(incomplete)]


def metric_names(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the metrics that the newest jobs have reported."""
    jobs = _asked(ctx, lambda client: client.page(limit=20).jobs) or []
    names = dict.fromkeys(name for job in jobs for name in job.last)
    return [name for name in sorted(names) if name.startswith(incomplete)]


def study_names(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the newest studies: by name if it is one word for a shell, or else by id."""
    return _studies(ctx, incomplete)


def deleted_studies(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the newest studies in the trash."""
    return _studies(ctx, incomplete, trash=True)


def _studies(ctx: typer.Context, incomplete: str, **of: Any) -> List[Tuple[str, str]]:
    found = _asked(ctx, lambda client: list(islice(client.studies.list(**of), _STUDIES))) or []
    ends = short_ids([study.id for study in found])
    texts = [
        one.name if _WORD.fullmatch(one.name) and one.name.startswith(incomplete) else end
        for one, end in zip(found, ends)
    ]
    return [
        (text, f"{one.name}, {one.state}")
        for text, one in zip(texts, found)
        if text.startswith(incomplete)
    ]


def columns(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete what a list can be sorted by; a minus in front stays."""
    minus = "-" if incomplete.startswith("-") else ""
    known = [name for name, kind in _names(ctx) if kind != "field"]
    return [minus + name for name in known if name.startswith(incomplete[len(minus) :])]


def conditions(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the last word of a filter: a column, a field, or a metric."""
    words = incomplete.rpartition(" ")
    return [f"{words[0]}{words[1]}{name}" for name, _ in _names(ctx) if name.startswith(words[2])]


def groupings(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the paths that vary in the study of the command line, and seed."""
    study = ctx.params.get("study")
    found = _asked(ctx, lambda client: client.studies.summary(study).paths) if study else None
    return [path for path in [*(found or []), "seed"] if path.startswith(incomplete)]


def project_names(ctx: typer.Context, incomplete: str) -> List[str]:
    """Complete the names of projects."""
    found = _asked(ctx, lambda client: client.projects.list()) or []
    return [one.name for one in found if one.name.startswith(incomplete)]


def part_names(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the names of tasks, metrics, hooks and other parts."""
    found = _asked(ctx, lambda client: client.parts()) or []
    return [(one.name, one.part) for one in found if one.name.startswith(incomplete)]


def pages(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete jobs and studies, which have pages."""
    return [*job_ids(ctx, incomplete), *study_names(ctx, incomplete)]


def one_of(*words: str) -> Callable[[str], List[str]]:
    """Return a function that completes *words*."""

    def complete(incomplete: str) -> List[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def states(incomplete: str) -> List[str]:
    """Complete the states of a job."""
    return [state for state in STYLES if state.startswith(incomplete)]


def _names(ctx: typer.Context) -> List[Tuple[str, str]]:
    from normlab.records.tables import FieldList

    def ask(client: Client) -> FieldList:
        return client.transport.record(FieldList, "GET", "/jobs:fields")

    found = _asked(ctx, ask)
    return [(one.name, one.kind) for one in found.fields] if found else []


def _asked(ctx: typer.Context, ask: Callable[[Client], AnswerT]) -> Optional[AnswerT]:
    """Return the answer of the API, which also knows the names of plugins, or None."""
    from normlab.cli.connecting import client_of
    from normlab.stacks.addresses import Address, resolve

    params = ctx.find_root().params
    address = Address(params.get("url"), params.get("token"), params.get("data_dir"))
    try:
        found = resolve(address)
        with client_of(found, tries=1, timeout_s=PATIENCE_S) as client:
            return ask(client)
    except (NormlabError, ValueError):
        return None


JobArgument = typer.Argument(
    ...,
    help="A job's id, or its end as `ls` shows it.",
    autocompletion=job_ids,
    metavar="JOB",
    show_default=False,
)
JobsArgument = typer.Argument(
    ...,
    help="Ids of jobs, or their ends as `ls` shows them.",
    autocompletion=job_ids,
    metavar="JOB...",
    show_default=False,
)


class Command(TyperCommand):
    """A command in which the word after an option is its value: `--sort -val/accuracy`."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        """Parse *args*, and remember the last one, which is the word before the completed one."""
        ctx.meta[_BEFORE] = args[-1] if args else None
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> List[Any]:
        """Complete *incomplete*; typer takes every word that begins with a minus for an option."""
        option = self._waiting(ctx)
        if option is None or not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found: List[Any] = option.shell_complete(ctx, incomplete)
        return found

    def _waiting(self, ctx: Any) -> Optional[Any]:
        """Return the option whose value comes next, or None."""
        before = ctx.meta.get(_BEFORE)
        for param in self.params:
            if before in param.opts and not getattr(param, "is_flag", False) and before[:1] == "-":
                return param
        return None
