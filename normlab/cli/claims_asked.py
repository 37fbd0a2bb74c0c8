"""The claims that a command line asks for, each with the study to run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from normlab.claims.claim import Claim
    from normlab.specs.studies import StudySpec


@dataclass(frozen=True)
class Changes:
    """The changes to the claims' own files."""

    quick: bool = False
    seeds: Optional[int] = None
    first_seed: int = 0
    dataset: Optional[str] = None
    overrides: Sequence[str] = ()


def asked(keys: Sequence[str], everything: bool, changes: Changes) -> List[Tuple[Claim, StudySpec]]:
    """
    Return the claims of *keys*, or all of them, with their studies.

    Raises:
        InvalidSpec: none is named, or the changes do not fit.
        NotFound: one is unknown.
    """
    from normlab.claims.loading import find_claim, load_claims
    from normlab.errors import InvalidSpec

    chosen = list(load_claims().values()) if everything else [find_claim(key) for key in keys]
    if not chosen:
        raise InvalidSpec(
            "no claim was named; name some, or use --all (`normlab reproduce --list` lists them)"
        )
    if changes.quick or changes.seeds:  # the number of seeds is fixed
        chosen = [claim.model_copy(update={"decide": None}) for claim in chosen]
    if changes.dataset and everything:
        chosen = for_task_of(changes.dataset, chosen)
    return [(claim, _study(claim, changes)) for claim in chosen]


def for_task_of(dataset: str, claims: List[Claim]) -> List[Claim]:
    """Leave out and name the claims about a task that *dataset* does not have."""
    from normlab.specs.datasets import DATASETS

    task = DATASETS[dataset].task if dataset in DATASETS else None
    fitting = [c for c in claims if DATASETS[c.study.base["dataset"]["name"]].task == task]
    left = [c.key for c in claims if c not in fitting]
    if fitting and left:
        print(f"left out, about another task: {', '.join(left)}", file=sys.stderr, flush=True)
    return fitting or claims


def _study(claim: Claim, changes: Changes) -> StudySpec:
    study = claim.at(quick=changes.quick, seeds=changes.seeds, first_seed=changes.first_seed)
    if changes.dataset is not None:
        study = on_dataset(study, changes.dataset)
    return _changed(study, changes.overrides)


def on_dataset(study: StudySpec, name: str) -> StudySpec:
    """
    Return *study* with all samples of the dataset *name*, and everything else unchanged.

    Args:
        study: the study of a claim.
        name: a dataset of the catalogue; an override sets the folder of pictures afterwards.

    Raises:
        InvalidSpec: there is no such dataset, or it is for another task.
    """
    from normlab.errors import InvalidSpec
    from normlab.specs.datasets import DATASETS

    facts = DATASETS.get(name)
    if facts is None:
        raise InvalidSpec(f"--on {name}: no such dataset; `normlab datasets` lists them")
    own = DATASETS[study.base["dataset"]["name"]]
    if facts.task != own.task:
        raise InvalidSpec(
            f"--on {name}: it is for {facts.task}, and {study.name!r} is about {own.task}; "
            f"name a dataset for {own.task}, or leave the claim out"
        )
    base = {**study.base, "dataset": {"name": name}}
    title = f"{study.name}, on {name}"[:200]
    return study.model_copy(update={"base": base, "name": title})


def _changed(study: StudySpec, overrides: Sequence[str]) -> StudySpec:
    """Return *study* with fields set in the same way as by `normlab study run --set`."""
    from pydantic import ValidationError

    from normlab.cli.specfile import apply_override
    from normlab.errors import InvalidSpec
    from normlab.specs.problems import explain
    from normlab.specs.studies import StudySpec as Spec

    if not overrides:
        return study
    raw = study.model_dump(mode="json", exclude_defaults=True)
    for override in overrides:
        apply_override(raw, override)
    raw["name"] = f"{study.name}, {', '.join(overrides)}"[:200]
    try:
        return Spec.model_validate(raw)
    except ValidationError as e:
        first, *_ = explain(e.errors(), raw, Spec)
        raise InvalidSpec(f"--set {' --set '.join(overrides)}: {first}") from e
