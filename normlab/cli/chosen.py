"""Jobs, and studies with `--study`, as `rename`, `tag`, `rm` and similar commands take them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Optional, Union

import typer

from normlab.cli.completion import deleted_jobs, deleted_studies, job_ids, study_names
from normlab.errors import InvalidSpec

if TYPE_CHECKING:
    from normlab.records import JobDetail, StudyRecord


def _jobs(which: str, complete: Callable[..., Any]) -> Any:
    return typer.Argument(
        None, help=which, autocompletion=complete, metavar="[JOB]...", show_default=False
    )


def _studies(which: str, complete: Callable[..., Any]) -> Any:
    return typer.Option(None, "--study", "-s", help=which, autocompletion=complete)


Jobs = _jobs("Ids of jobs, or their ends as `ls` shows them.", job_ids)
Studies = _studies("A study, by id or name (repeatable).", study_names)
DeletedJobs = _jobs(
    "Ids of jobs in the trash, or their ends as `ls --trash` shows them.", deleted_jobs
)
DeletedStudies = _studies("A study in the trash, by id or name (repeatable).", deleted_studies)

Changed = Union["JobDetail", "StudyRecord"]


def change_each(
    jobs: Optional[List[str]],
    studies: Optional[List[str]],
    change_job: Callable[[str], JobDetail],
    change_study: Callable[[str], StudyRecord],
) -> Iterator[Changed]:
    """Change *jobs* and *studies* one after the other, and yield the new record of each."""
    return chain(map(change_job, jobs or ()), map(change_study, studies or ()))


def refuse_nothing(
    jobs: Optional[List[str]], studies: Optional[List[str]], where: str = ""
) -> None:
    """Raise InvalidSpec if neither jobs nor studies are named; `ls` with *where* lists them."""
    if not jobs and not studies:
        lists = " and ".join(f"normlab {ls} {where}".strip() for ls in ("ls", "study ls"))
        raise InvalidSpec(f"name jobs, or studies with --study; {lists} list them")
