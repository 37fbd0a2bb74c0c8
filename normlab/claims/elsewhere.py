"""A claim's study on another dataset, such as the one of its paper."""

from __future__ import annotations

from normlab.errors import InvalidSpec
from normlab.specs.datasets import DATASETS
from normlab.specs.studies import StudySpec


def on_dataset(study: StudySpec, name: str) -> StudySpec:
    """
    Return *study* with all samples of the dataset *name*, and everything else unchanged.

    Args:
        study: of a claim.
        name: one of the catalogue; a folder of pictures is named by an override afterwards.

    Raises:
        InvalidSpec: there is no such dataset, or it is for another task.
    """
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
