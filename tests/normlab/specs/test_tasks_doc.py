"""docs/tasks.md names every task, network and dataset, each with its task and metric."""

from __future__ import annotations

import re
from pathlib import Path

from normlab.specs.datasets import DATASETS
from normlab.specs.models import MODELS
from normlab.specs.tasks import TASKS

PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_every_network_and_dataset_is_listed_with_its_task() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (\w+) \|", PAGE, re.MULTILINE)
    found = [(name, task) for names, task in rows for name in re.findall(r"`(\w+)`", names)]
    facts = [*MODELS.values(), *DATASETS.values()]
    assert sorted(found) == sorted((f.name, f.task) for f in facts)


def test_every_task_has_its_metric() -> None:
    for name, facts in TASKS.items():
        (row,) = re.findall(
            rf"^\| `{name}` \| {re.escape(facts.predicts)} \| (.*)", PAGE, re.MULTILINE
        )
        for name in facts.measures or ("val/accuracy",):
            assert f"`{name}`" in row
