"""Jobs as HTML for notebooks; all that people wrote is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Iterable, List, Sequence

from normlab.counting import measured
from normlab.plain_text import shown

if TYPE_CHECKING:
    from normlab.records.jobs import JobRecord
    from normlab.records.studies import StudyRecord

_HEAD = ("run", "name", "state", "normalizer", "batch", "seed", "progress", "metrics")
_MOST_METRICS = 3
_IN_ONE_LINE = 'style="white-space: nowrap"'  # for each cell: Jupyter's own rule is for cells
_TOLD = ("val/accuracy", "val/loss", "train/loss")


def cell(value: Any) -> str:
    """Return *value* as text that no browser takes for markup."""
    return "" if value is None else escape(shown(str(value)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return a table; *rows* are HTML already, *head* and *caption* are text."""
    top = "".join(f"<th {_IN_ONE_LINE}>{cell(name)}</th>" for name in head)
    lines = ("".join(f"<td {_IN_ONE_LINE}>{one}</td>" for one in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    said = f"<caption>{cell(caption)}</caption>" if caption else ""
    whole = f"{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div style="overflow-x: auto"><table>{whole}</table></div>'


def progress(done: int, of: int) -> str:
    """Return a bar with its numbers."""
    bar = f'<progress max="{max(of, 1)}" value="{done}" style="width: 6em"></progress>'
    return f"{bar} {done} of {of or '?'}"


def jobs_table(jobs: Sequence[JobRecord], of: int) -> str:
    """Return *jobs* as a table: those that are shown, of so many."""
    more = f", the newest {len(jobs)} shown" if of > len(jobs) else ""
    return table(_HEAD, map(_row, jobs), f"{of} runs{more}")


def job_facts(job: JobRecord) -> str:
    """Return one job as a table of two columns."""
    rows = [[cell(name), value] for name, value in zip(_HEAD, _row(job))]
    if job.waiting_for:
        rows.append(["waits for", cell(job.waiting_for)])
    if job.error is not None:
        rows.append(["error", cell(job.error.message)])
    return table(("job", cell(job.id)), rows)


def study_facts(study: StudyRecord) -> str:
    """Return a study as a table of two columns."""
    done = study.counts.get("succeeded", 0)
    states = ", ".join(f"{n} {state}" for state, n in study.counts.items() if n)
    rows = [
        ["state", cell(study.state)],
        ["cells", f"{progress(done, study.cells)}: {cell(states)}"],
        ["varies", cell(", ".join(study.paths))],
    ]
    return table(("study", study.name), rows)


def _row(job: JobRecord) -> List[str]:
    told = [name for name in _TOLD if name in job.last] or sorted(job.last)
    values = ((name, job.last[name].number()) for name in told[:_MOST_METRICS])
    metrics = [f"{name} {measured(name, number)}" for name, number in values]
    kind = job.normalizer + (" + proxy" if job.proxy else "")
    cells = [job.id[-8:], job.name, job.state, kind, job.batch_size, job.seed]
    return [*map(cell, cells), progress(job.step, job.steps or 0), cell(", ".join(metrics))]
