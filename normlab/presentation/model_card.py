"""A model card in Markdown: the content of a file of weights, its metrics, and how to use it."""

from __future__ import annotations

from typing import Dict, List

from normlab.counting import counted
from normlab.not_finite import name_of
from normlab.plain_text import shown
from normlab.records import JobDetail
from normlab.specs.measures import is_timing


def model_card(job: JobDetail, file: str, sha256: str) -> str:
    """
    Describe the final weights of *job*: specification, last metrics, environment and hash.

    Args:
        file: the name of the file beside the card.
        sha256: the digest of that file, in hex digits.
    """
    lines = [
        f"# {shown(job.name or job.id)}",
        "",
        f"`{job.model}` with `{job.normalizer}` normalization"
        f"{' and proxy-normalized activations' if job.proxy else ''}, trained on `{job.dataset}` "
        f"for {counted(job.epoch, 'epoch')} ({counted(job.step, 'update')} of "
        f"{counted(job.samples_per_update, 'sample')}).",
        "",
        *_table(
            {
                "file": f"`{file}`",
                "SHA-256": f"`{sha256}`",
                "job": f"`{job.id}`",
                "fingerprint": f"`{job.fingerprint}`",
                "device": job.runtime or job.device,
                **({} if job.packed is None else {"packed": str(job.packed)}),
            },
            "what",
        ),
        *_table(_metrics(job), "metric, last value"),
        "## How to use it",
        "",
        *_fenced("python", f'import normlab\n\nmodel, data = normlab.load("{job.id}")\n'
        "print(data.evaluate(model))"),
        "## Environment",
        "",
        *_table(_environment(job), "what"),
        "## Specification",
        "",
        *_fenced("json", job.spec.model_dump_json(indent=2)),
    ]  # fmt: skip
    return "\n".join(lines)


def _metrics(job: JobDetail) -> Dict[str, str]:
    last = {name: found.number() for name, found in sorted(job.last.items())}
    said = {name: name_of(number) or f"{number!r}" for name, number in last.items()}
    return {name: value for name, value in said.items() if not is_timing(name)}


def _environment(job: JobDetail) -> Dict[str, str]:
    found = job.attempts[-1].environment if job.attempts else {}
    versions = found.get("versions") or {}
    plain = {name: str(found[name]) for name in ("description", "threads") if name in found}
    return {**plain, **{name: str(version) for name, version in sorted(versions.items())}}


def _table(rows: Dict[str, str], head: str) -> List[str]:
    body = [f"| {shown(name)} | {shown(value)} |" for name, value in rows.items()]
    return [f"| {head} | |", "|---|---|", *body, ""]


def _fenced(language: str, text: str) -> List[str]:
    return [f"```{language}", text, "```", ""]
