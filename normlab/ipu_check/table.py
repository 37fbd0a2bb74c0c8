"""`python -m normlab.ipu_check.table` prints the op check's verdict on every kind, as Markdown."""

from __future__ import annotations

from normlab.ipu_check.jobs import check_job
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import ActivationNormSpec
from normlab.specs.normalizers import BY_KIND


def verdict_table() -> str:
    """Return one row per kind: whether `preresnet8` passes with and without proxy, and why."""
    rows = ["| kind | op check | with `proxy` | why |", "|---|---|---|---|"]
    for kind, spec in BY_KIND.items():
        plain = check_job(JobSpec.model_validate({"normalizer": kind}))
        proxy = "-"
        if issubclass(spec, ActivationNormSpec):
            asked = {"kind": kind, "proxy": True}
            proxy = _word(check_job(JobSpec.model_validate({"normalizer": asked})).passes)
        why = spec.ipu_reason if plain.passes == spec.runs_on_ipu else "; ".join(plain.problems)
        rows.append(f"| `{kind}` | {_word(plain.passes)} | {proxy} | {why} |")
    return "\n".join(rows)


def _word(passes: bool) -> str:
    return "passes" if passes else "refused"


if __name__ == "__main__":
    print(verdict_table())
