"""The page about diagnostics: its code runs, and it agrees with the catalogue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from normlab.diagnostics.gradient_bias import GradientBias
from normlab.diagnostics.regularization import Regularization
from normlab.specs.diagnostics import DIAGNOSTICS

PAGE = (Path(__file__).parents[3] / "docs" / "diagnostics.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def somebodys_own() -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    )
    return {"model": model, "x": torch.randn(16, 3, 8, 8), "y": torch.arange(16) % 4}


def test_five_lines_watch_any_model(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in EXAMPLES[0].splitlines() if line]
    assert len(lines) == 5
    exec(EXAMPLES[0], somebodys_own())
    said = capsys.readouterr().out
    assert re.search(r"^1/norm Power\(channel_mean=", said, re.MULTILINE)


def test_the_functions_measure_any_model() -> None:
    names = somebodys_own()
    before = {name: t.clone() for name, t in names["model"].state_dict().items()}
    exec(EXAMPLES[1], names)
    assert isinstance(names["bias"], GradientBias)
    assert isinstance(names["strength"], Regularization)
    assert names["smoothness"].beta > 0
    assert len(names["curve"].mean) == len(names["curve"].fractions)
    assert list(names["steps"]) == ["0"]  # every layer except the last
    assert all(torch.equal(t, before[name]) for name, t in names["model"].state_dict().items())


@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_every_diagnostic_has_its_section_with_names_and_source(name: str) -> None:
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    facts = DIAGNOSTICS[name]
    assert facts.source in section
    metrics = re.split(r"[ ,]", facts.metrics)[0]
    assert metrics in section or "/" not in metrics
    assert facts.when in section
    assert "- Cost: " in section
    assert f"\n| {name} |" in PAGE, "its cost is not in the table"
